//! `GET /explain?method=GET&url=http://host/path`: what would happen to a request.

use std::net::{IpAddr, Ipv4Addr};

use http::StatusCode;
use percent_encoding::percent_decode;

use super::calls::{AdminAnswer, json_answer, problem_answer};
use crate::explain::{self, ExplainQuestion};
use crate::route::condition::parameters;
use crate::server::status::Status;
use crate::tls::facts::Certificate;

/// Besides `method` (default `GET`) and `url`: any number of `header=name:value`, `client=IP`,
/// `listener=NAME`, `sni=NAME`, and of a client's certificate `cert_subject=…` and `cert_name=…`.
pub(super) fn explain_request(status: &Status, query: Option<&str>) -> AdminAnswer {
    let mut question = ExplainQuestion {
        method: "GET".to_owned(),
        url: String::new(),
        headers: Vec::new(),
        client: Ipv4Addr::LOCALHOST.into(),
        listener: None,
        sni: None,
        certificate: None,
    };
    let bad = || problem_answer(StatusCode::UNPROCESSABLE_ENTITY, "bad_question");
    for (name, value) in parameters(query.unwrap_or_default().as_bytes()) {
        let Ok(value) = percent_decode(value).decode_utf8() else { return bad() };
        match name {
            b"method" => question.method = value.into_owned(),
            b"url" => question.url = value.into_owned(),
            b"listener" => question.listener = Some(value.into_owned()),
            b"sni" => question.sni = Some(value.into_owned()),
            b"cert_subject" => question_certificate(&mut question).subject = value.into(),
            b"cert_name" => {
                let certificate = question_certificate(&mut question);
                let names = certificate.names.iter().cloned().chain([value.into()]);
                certificate.names = names.collect();
            }
            b"client" => match value.parse::<IpAddr>() {
                Ok(ip) => question.client = ip,
                Err(_) => return bad(),
            },
            b"header" => match value.split_once(':') {
                Some((name, value)) => {
                    question.headers.push((name.trim().to_owned(), value.trim().to_owned()));
                }
                None => return bad(),
            },
            _ => return bad(),
        }
    }
    match explain::explain_exchange(&status.store.load(), &question) {
        Ok(said) => json_answer(StatusCode::OK, &said),
        Err(_) => bad(),
    }
}

/// The certificate of a question, begun where there is none yet.
fn question_certificate(question: &mut ExplainQuestion) -> &mut Certificate {
    question.certificate.get_or_insert_with(|| Certificate {
        subject: "".into(),
        names: Box::default(),
        fingerprint: "".into(),
    })
}
