use super::*;

fn fields(values: &[&str]) -> Fields {
    let mut fields = Fields::default();
    values.iter().for_each(|value| fields.push(b"CDN-Loop", value.as_bytes()));
    fields
}

#[test]
fn a_mark_belongs_to_one_route_of_one_process() {
    let (one, other) = (keyed_mark(&[1; 64], "shop"), keyed_mark(&[2; 64], "shop"));
    assert_eq!(&*one, "tidegate-f299555f1fb8b8e2");
    assert_eq!(&*other, "tidegate-5c8bf25fdb8ecf30");
    assert_eq!(&*keyed_mark(&[1; 64], "cart"), "tidegate-616202210de68df5");
    assert_eq!(route_mark("shop"), route_mark("shop"));
    assert_ne!(route_mark("shop"), route_mark("cart"));
}

#[test]
fn a_request_that_bears_the_mark_has_been_here() {
    let mark = "tidegate-0123456789abcdef";
    for values in [
        &[mark][..],
        &["cloudflare; loops=1, tidegate-0123456789abcdef"],
        &["cloudflare", "tidegate-0123456789abcdef ; x=y", "fastly"],
    ] {
        assert!(is_loop(&fields(values), mark), "{values:?}");
    }
    for values in [
        &[][..],
        &[""],
        &["tidegate-0123456789abcdee"],
        &["tidegate-0123456789abcdef0"],
        &["tidegate-"],
        &["x; y=tidegate-0123456789abcdef"],
    ] {
        assert!(!is_loop(&fields(values), mark), "{values:?}");
    }
    let mut other = Fields::default();
    other.push(b"Via", mark.as_bytes());
    assert!(!is_loop(&other, mark));
}

#[test]
fn sixteen_marks_are_a_loop_whoever_wrote_them() {
    let marks = |count: usize| {
        let marks: Vec<String> = (0..count).map(|n| format!("tidegate-{n:016x}")).collect();
        fields(&[&marks.join(", "), "other-a, other-b"])
    };
    assert!(!is_loop(&marks(15), "tidegate-x"));
    assert!(is_loop(&marks(16), "tidegate-x"));
    let others = vec!["other"; 64].join(",");
    assert!(!is_loop(&fields(&[&others]), "tidegate-x"));
}
