//! Envelope and parser alone, and with every attachment decoded: what one worker can do at most.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // it fails by panicking
#![allow(clippy::disallowed_methods)] // it plays administrator and writer
#![allow(missing_docs)]

mod support;

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use mailmill::pipeline::envelope;
use mailmill::pipeline::parse::decode;
use support::Mails;

fn parse(criterion: &mut Criterion) {
    let parser = support::parser();
    let mut group = criterion.benchmark_group("parse");
    for mails in Mails::both() {
        group.throughput(mails.throughput());
        group.bench_function(mails.name, |bencher| {
            bencher.iter(|| {
                for file in &mails.files {
                    let (_, original) = envelope::split(black_box(file));
                    black_box(parser.parse(original).unwrap());
                }
            });
        });
        group.bench_function(format!("{} and decode", mails.name), |bencher| {
            bencher.iter(|| {
                for file in &mails.files {
                    let (_, original) = envelope::split(black_box(file));
                    let mail = parser.parse(original).unwrap();
                    mail.parts.iter().for_each(|part| drop(black_box(decode(part))));
                }
            });
        });
    }
    group.finish();
}

criterion_group! { name = benches; config = support::quick(); targets = parse }
criterion_main!(benches);
