use super::*;
use crate::exchange::Cut;
use crate::policy::compress::Compress;
use crate::policy::effects::PolicyEffects;

fn answer(fields: &[(&str, &str)]) -> ResponseHead {
    let mut head = ResponseHead::default();
    head.set(200, b"OK");
    head.fields.push(b"date", b"x");
    fields.iter().for_each(|(name, value)| head.fields.push(name.as_bytes(), value.as_bytes()));
    head
}

fn written(stages: &ResponseStages<'_>, head: &ResponseHead) -> String {
    let mut out = Vec::new();
    stages.write_head(head, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn without_stages_a_response_stays_as_it_is() {
    let mut stages = ResponseStages::default();
    let head = answer(&[("a", "1")]);
    assert_eq!(stages.announce_length(&head, Length::Known(5)), Length::Known(5));
    assert_eq!(written(&stages, &head), "date: x\r\na: 1\r\n");
    assert!(stages.find_substitute(&head).is_none());
    assert!(stages.see_end(Outcome::ServerCut(Cut::Closed)).is_none());
}

#[test]
fn each_stage_sees_what_those_before_it_wrote() {
    let set = [("a", "2"), ("vary", "accept-encoding")];
    let edits = HeaderEdits::new(set.into_iter(), [].into_iter(), ["b"].into_iter());
    let mut effects = PolicyEffects::default();
    effects.fields.push((b"b", b"3"));
    let policies = Policies { compress: Some(Compress::default()), ..Policies::default() };
    let mut request = Fields::default();
    request.push(b"accept-encoding", b"gzip");
    let mut stages = ResponseStages {
        edits: Some(&edits),
        effects: Some(&effects),
        cookie: Some(SetCookie(b"c=4".to_vec())),
        ..ResponseStages::of_policies(Some(&policies), &request)
    };
    let head = answer(&[("a", "1"), ("b", "1"), ("content-type", "text/plain")]);
    assert_eq!(stages.announce_length(&head, Length::Known(5000)), Length::Unknown);
    // What policies say is not subject to the route's edits; `vary` is not said twice.
    assert_eq!(
        written(&stages, &head),
        "date: x\r\ncontent-type: text/plain\r\na: 2\r\nvary: accept-encoding\r\nb: 3\r\n\
             set-cookie: c=4\r\ncontent-encoding: gzip\r\n"
    );
}

#[test]
fn a_call_that_is_broken_off_ends_with_a_note() {
    let grpc = Some(GrpcNotes::new("id"));
    let mut stages = ResponseStages { grpc, ..ResponseStages::default() };
    let head = answer(&[]);
    assert_eq!(stages.announce_length(&head, Length::Unknown), Length::Unknown);
    assert!(stages.see_end(Outcome::Whole).is_none());
    let notes = stages.see_end(Outcome::ServerCut(Cut::Closed)).unwrap();
    assert_eq!(notes.named(b"grpc-status").next(), Some(&b"14"[..]));
    // Where a length was announced, no trailers can follow.
    stages.announce_length(&head, Length::Known(5));
    assert!(stages.see_end(Outcome::ServerCut(Cut::Closed)).is_none());
}
