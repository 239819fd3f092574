//! What one change costs: a weight, or a join and a leave, of an upstream with 10, 1 000 and 10 000
//! servers, from the list of its servers to the moment when requests see it.
//!
//! `cargo bench --bench members`.
#![allow(clippy::unwrap_used, missing_docs, reason = "a program for people who measure")]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use tidegate::config;
use tidegate::snapshot::compile;
use tidegate::upstream::{Membership, Upstream};

fn upstream(servers: usize, balance: &str) -> Arc<Upstream> {
    let list: Vec<String> = (0..servers)
        .map(|n| format!("\"10.{}.{}.{}:80\"", n >> 16, (n >> 8) & 255, n & 255))
        .collect();
    let text = format!(
        "[[listen]]\naddress = \"127.0.0.1:0\"\n[upstream.app]\nservers = [{}]\nbalance = {balance}\n\
         [[route]]\nupstream = \"app\"\n",
        list.join(", ")
    );
    let config = config::load_str("members.toml", &text).unwrap().config;
    compile::compile_config(&config, None, 16).unwrap().upstreams[0].clone()
}

fn changes(criterion: &mut Criterion) {
    for (name, balance) in [
        ("least_request", "\"least_request\""),
        ("maglev", "{ hash = \"uri\", table = \"maglev\" }"),
    ] {
        let mut group = criterion.benchmark_group(format!("change/{name}"));
        for servers in [10, 1000, 10_000] {
            let upstream = upstream(servers, balance);
            let specs: Vec<_> =
                upstream.members().servers().iter().map(|server| server.spec.clone()).collect();
            group.bench_function(BenchmarkId::new("weight", servers), |bencher| {
                let mut weight = 1;
                bencher.iter(|| {
                    let mut next = specs.clone();
                    weight = weight % 9 + 1;
                    next[servers / 2].weight = weight;
                    let before = upstream.members();
                    let next =
                        Membership::build_membership(&upstream.arrangement, next, Some(&before));
                    black_box(upstream.replace_members(next.unwrap()));
                });
            });
            group.bench_function(BenchmarkId::new("join_and_leave", servers), |bencher| {
                let mut n = 0_usize;
                bencher.iter(|| {
                    let mut next = specs.clone();
                    n += 1;
                    let name: Arc<str> = format!("new-{n}").into();
                    next[servers / 2].name = name.clone();
                    next[servers / 2].written = name;
                    let before = upstream.members();
                    let next =
                        Membership::build_membership(&upstream.arrangement, next, Some(&before));
                    black_box(upstream.replace_members(next.unwrap()));
                });
            });
        }
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = changes
}
criterion_main!(benches);
