//! Listing a drop folder and claiming what lies there, one rename each, and reading it too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // it fails by panicking
#![allow(clippy::disallowed_methods)] // it plays administrator and writer
#![allow(missing_docs)]

mod support;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use mailmill::generate::{Generator, fill};
use mailmill::model::mail::ClaimId;
use mailmill::spool::{Claim, Spool, SpoolOptions, Taken};
use support::Mails;

fn claim(criterion: &mut Criterion) {
    mailmill::engine::raise_file_limit();
    mailmill::spool::ignore_lease_signals();
    let mut group = criterion.benchmark_group("claim");
    group.sampling_mode(support::SAMPLING);
    for mails in Mails::both() {
        group.throughput(mails.throughput());
        for (name, read) in [(mails.name.to_owned(), false), (format!("{} and read", mails.name), true)] {
            group.bench_function(name, |bencher| {
                bencher.iter_custom(|rounds| (0..rounds).map(|_| round(&mails, read)).sum());
            });
        }
    }
    group.finish();
}

fn round(mails: &Mails, read: bool) -> Duration {
    let folder = tempfile::tempdir().unwrap();
    let generator = Generator::new(mails.profile, support::SEED, 1);
    fill(folder.path(), &generator, mails.files.len() as u64, &mut |_| ()).unwrap();
    let spool = Spool::open(SpoolOptions {
        drop_folder: folder.path().to_owned(),
        label: "bench".to_owned(),
        remote_writers: false,
        settle_time: Duration::ZERO,
    })
    .unwrap();
    let start = Instant::now();
    let mut taken = 0;
    for (number, entry) in (1..).zip(spool.list().unwrap()) {
        let Taken::Claim(mut claim) = spool.take(entry.unwrap(), ClaimId { batch: 1, number }) else {
            panic!("not claimed");
        };
        if read {
            work(&mut claim, &spool);
        }
        taken += 1;
    }
    let spent = start.elapsed();
    assert_eq!(taken, mails.files.len());
    spent
}

fn work(claim: &mut Claim, spool: &Spool) {
    let bytes = claim.read(spool, 512 << 10, u64::MAX).unwrap();
    // A mapped file is read only where it is looked at.
    black_box(bytes.iter().step_by(4096).fold(0_u8, |sum, byte| sum.wrapping_add(*byte)));
    assert!(claim.is_whole());
}

criterion_group! { name = benches; config = support::on_disk(); targets = claim }
criterion_main!(benches);
