//! What choosing a server costs, for each strategy and 3, 100 and 1 000 servers.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use tidegate::balance::{BalanceKey, BalanceRules, Member, PickContext, Strategy, build_balancer};
use tidegate::clock::{self, Random};
use tidegate::endpoint::Endpoint;

fn pick(c: &mut Criterion) {
    let mut group = c.benchmark_group("pick");
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    for strategy in Strategy::all_weighted() {
        for n in [3, 100, 1_000] {
            let members: Vec<Member> = (0..n)
                .map(|i| {
                    let name = format!("s{i}");
                    let endpoint = Endpoint::new("u".into(), name.into(), Box::default());
                    Member::new(Arc::new(endpoint), 1 + i % 3)
                })
                .collect();
            let balance = build_balancer(&strategy, &members);
            let mut random = Random::seeded(1);
            let now = clock::now();
            let mut number = 0_u64;
            let id = BenchmarkId::new(format!("{strategy:?}"), n);
            group.bench_function(id, |b| {
                b.iter(|| {
                    number += 1;
                    let text = number.to_le_bytes();
                    let key = Some(BalanceKey::new(&text));
                    let rules = BalanceRules::default();
                    let mut ask = PickContext { tried: &[], key, now, random: &mut random, rules };
                    black_box(balance.pick_server(black_box(&members), &mut ask))
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, pick);
criterion_main!(benches);
