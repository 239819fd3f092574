//! What a lookup costs with 10, 1 000 and 10 000 routes: it must not grow.

#![expect(clippy::expect_used, reason = "a bench that cannot be set up has nothing to measure")]

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use tidegate::exchange::target::{Keep, PathMode, RequestTarget};
use tidegate::route::{HostPattern, PathPattern, RouteQuery, RouteSpec, RouteTable};
use tidegate::wire::head::Fields;
use tidegate::wire::{RequestHead, Version};

struct Request {
    host: &'static str,
    path: String,
    fields: Fields,
}

impl RouteQuery for Request {
    fn listener(&self) -> u16 {
        0
    }
    fn host(&self) -> &str {
        self.host
    }
    fn path(&self) -> &[u8] {
        self.path.as_bytes()
    }
    fn query(&self) -> Option<&[u8]> {
        None
    }
    fn method(&self) -> &[u8] {
        b"GET"
    }
    fn fields(&self) -> &Fields {
        &self.fields
    }
    fn client(&self) -> Option<IpAddr> {
        Some(Ipv4Addr::LOCALHOST.into())
    }
}

/// `n` routes on one host: prefixes, exact paths and patterns with captures in equal parts.
fn table(n: usize) -> RouteTable<usize> {
    let routes = (0..n).map(|i| {
        let path = match i % 3 {
            0 => format!("/svc-{i}/*"),
            1 => format!("/exact/{i}/path"),
            _ => format!("/api-{i}/orders/{{id}}/items"),
        };
        let spec = RouteSpec {
            hosts: [HostPattern::Exact("shop.example.com".into())].into(),
            path: PathPattern::parse_pattern(&path).expect("a path pattern"),
            ..RouteSpec::match_everything(&path)
        };
        (spec, i)
    });
    RouteTable::new(routes.collect())
}

fn find(c: &mut Criterion) {
    let mut group = c.benchmark_group("route");
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    for n in [10, 1_000, 10_000] {
        let table = table(n);
        let late = n - n % 3 - 3;
        for (kind, path) in [
            ("prefix", format!("/svc-{late}/item/7")),
            ("exact", format!("/exact/{}/path", late + 1)),
            ("capture", format!("/api-{}/orders/42/items", late + 2)),
            ("miss", "/nothing/here".to_owned()),
        ] {
            let request = Request { host: "shop.example.com", path, fields: Fields::default() };
            assert_eq!(table.find(&request).is_ok(), kind != "miss");
            group.bench_with_input(BenchmarkId::new(kind, n), &request, |b, request| {
                b.iter(|| black_box(table.find(black_box(request)).map(|found| *found.route)));
            });
        }
    }
    group.finish();
}

fn target(c: &mut Criterion) {
    let mut group = c.benchmark_group("target");
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    for (kind, raw) in [
        ("normal", "/api/orders/42/items?page=2&sort=name"),
        ("repaired", "/api/./orders//42/%69tems?page=2&sort=name"),
    ] {
        let mut head = RequestHead::default();
        head.set(b"GET", raw.as_bytes(), Version::Http11);
        head.fields.push(b"Host", b"shop.example.com");
        group.bench_function(kind, |b| {
            b.iter(|| {
                let target =
                    RequestTarget::from_head(black_box(&head), PathMode::Normalize, Keep::Normal)
                        .expect("a target");
                black_box(target.path().len())
            });
        });
    }
    group.finish();
}

criterion_group!(benches, find, target);
criterion_main!(benches);
