//! Everything a worker does with a mail in memory: envelope, parse, route, decode, hash twice, plan.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // it fails by panicking
#![allow(clippy::disallowed_methods)] // it plays administrator and writer
#![allow(missing_docs)]

mod support;

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use support::{Mails, plan_of};

fn plan(criterion: &mut Criterion) {
    let (parser, directory) = (support::parser(), support::directory());
    let mut group = criterion.benchmark_group("plan");
    for mails in Mails::both() {
        group.throughput(mails.throughput());
        group.bench_function(mails.name, |bencher| {
            bencher.iter(|| {
                for file in &mails.files {
                    black_box(plan_of(black_box(file), 1, &parser, &directory));
                }
            });
        });
    }
    group.finish();
}

criterion_group! { name = benches; config = support::quick(); targets = plan }
criterion_main!(benches);
