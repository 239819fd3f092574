//! HPACK between the codec and another implementation of it, the Python library hpack, in both
//! directions: what only reads its own writing could be wrong about both.

use std::io::Write as _;
use std::process::Stdio;

use http_codec::hpack::{Encoder, HpackDecoder, HpackField};
use http_codec::known;
use serde_json::{Value, json};

use crate::python;

type Pair = (String, String);

/// A fixed sequence that looks random (Numerical Recipes, LCG of 64 bits).
struct Draw(u64);

impl Draw {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % n
    }

    /// Fields of a head: some of the static table, some that come again, some that never do, short,
    /// long and empty.
    fn fields(&mut self) -> Vec<Pair> {
        const NAMES: [&str; 8] = [
            ":method",
            ":status",
            "accept-encoding",
            "cookie",
            "x-a",
            "x-trace-id",
            "vary",
            "etag",
        ];
        const VALUES: [&str; 6] = ["GET", "200", "gzip, deflate", "", "a=1; b=2", "~!{}|\u{7e}%00"];
        let count = 1 + self.below(12);
        let one = |_| {
            let name = NAMES[usize::try_from(self.below(8)).unwrap()].to_owned();
            let value = match self.below(4) {
                0 => format!(
                    "{}-{}",
                    self.below(1 << 31),
                    "v".repeat(usize::try_from(self.below(300)).unwrap())
                ),
                _ => VALUES[usize::try_from(self.below(6)).unwrap()].to_owned(),
            };
            (name, value)
        };
        (0..count).map(one).collect()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn pairs(told: &Value) -> Vec<Pair> {
    serde_json::from_value(told.clone()).unwrap()
}

/// What the other implementation says to this.
fn peer(asked: &Value) -> Value {
    let mut child = python("hpack_peer.py", &[])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3, python3-h2");
    child.stdin.take().unwrap().write_all(asked.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn blocks_mean_the_same_to_another_implementation() {
    const BLOCKS: usize = 300;
    let mut draw = Draw(7541);
    let heads: Vec<Vec<Pair>> = (0..BLOCKS).map(|_| draw.fields()).collect();
    // Tables that shrink to nothing and grow again.
    let sizes: Vec<Option<u64>> =
        (0..BLOCKS).map(|_| (draw.below(9) == 0).then(|| draw.below(5) * 1024)).collect();
    let mut encoder = Encoder::default();
    let mut written = Vec::new();
    for (head, size) in heads.iter().zip(&sizes) {
        if let Some(size) = size {
            encoder.limit(usize::try_from(*size).unwrap());
        }
        let mut block = Vec::new();
        encoder.begin(&mut block);
        for (name, value) in head {
            let (name, value) = (name.as_bytes(), value.as_bytes());
            encoder.field(&mut block, name, value, known::lookup(name));
        }
        written.push(hex(&block));
    }
    let theirs: Vec<Value> =
        heads.iter().zip(&sizes).map(|(head, size)| json!([size, head])).collect();
    let told = peer(&json!({ "encode": theirs, "decode": written }));
    let mut decoder = HpackDecoder::default();
    for (nth, head) in heads.iter().enumerate() {
        assert_eq!(&pairs(&told["read"][nth]), head, "ours, read by them: {nth}");
        let mut read: Vec<Pair> = Vec::new();
        let mut each = |field: HpackField<'_>| {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            read.push((text(field.name), text(field.value)));
        };
        let block = bytes(told["blocks"][nth].as_str().unwrap());
        assert!(decoder.decode(&block, &mut each).is_ok(), "theirs is no HPACK: {nth}");
        assert_eq!(&read, head, "theirs, read by us: {nth}");
    }
    let length = |blocks: &[String]| blocks.iter().map(String::len).sum::<usize>() / 2;
    let plain: usize = heads.iter().flatten().map(|(name, value)| name.len() + value.len()).sum();
    assert!(length(&written) * 10 < plain * 9, "{} bytes for {plain}", length(&written));
}
