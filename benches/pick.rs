//! What choosing a server costs, for each strategy and 3, 100 and 1 000 servers.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use tidegate::balance::{Ask, Strategy, build};
use tidegate::clock::Random;
use tidegate::endpoint::Endpoint;

fn pick(c: &mut Criterion) {
    let mut group = c.benchmark_group("pick");
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    for strategy in Strategy::ALL {
        for n in [3, 100, 1_000] {
            let endpoints: Vec<Arc<Endpoint>> = (0..n)
                .map(|i| {
                    let name = format!("s{i}");
                    Arc::new(Endpoint::new("u".into(), name.into(), Box::default(), 1 + i % 3))
                })
                .collect();
            let balance = build(strategy, &endpoints);
            let mut random = Random::seeded(1);
            let id = BenchmarkId::new(format!("{strategy:?}"), n);
            group.bench_function(id, |b| {
                b.iter(|| {
                    let mut ask = Ask { tried: &[], random: &mut random };
                    black_box(balance.pick(black_box(&endpoints), &mut ask))
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, pick);
criterion_main!(benches);
