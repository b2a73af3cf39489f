//! Removing settled mail: the whole cost of small mail, which is why many threads share it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // it fails by panicking
#![allow(clippy::disallowed_methods)] // it plays administrator and writer
#![allow(missing_docs)]

mod support;

use std::sync::Mutex;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use mailmill::generate::{Generator, Profile, fill};
use mailmill::model::mail::ClaimId;
use mailmill::spool::{Claim, Keep, Settlement, Spool, SpoolOptions, Taken};
use mailmill::store::{Group, ListStore, MemoryStore, Receipt};

const MAILS: u64 = 2000;

fn settle(criterion: &mut Criterion) {
    mailmill::engine::raise_file_limit();
    mailmill::spool::ignore_lease_signals();
    let mut group = criterion.benchmark_group("settle");
    group.sampling_mode(support::SAMPLING);
    group.throughput(Throughput::Elements(MAILS));
    for threads in [1, 4, 16] {
        group.bench_with_input(BenchmarkId::new("remove, threads", threads), &threads, |bencher, threads| {
            bencher.iter_custom(|rounds| (0..rounds).map(|_| round(*threads, &Keep::Remove)).sum());
        });
    }
    let done = Keep::Done { date: "2026-01-01".to_owned() };
    group.bench_function("done, threads/16", |bencher| {
        bencher.iter_custom(|rounds| (0..rounds).map(|_| round(16, &done)).sum());
    });
    group.finish();
}

fn round(threads: usize, keep: &Keep) -> Duration {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path(), &Generator::new(Profile::Small, support::SEED, 1), MAILS, &mut |_| ()).unwrap();
    support::write_out(folder.path());
    let spool = Spool::open(SpoolOptions {
        drop_folder: folder.path().to_owned(),
        label: "bench".to_owned(),
        remote_writers: false,
        settle_time: Duration::ZERO,
    })
    .unwrap();
    let entries = (1..).zip(spool.list().unwrap());
    let claims: Vec<Claim> = entries
        .map(|(number, entry)| match spool.take(entry.unwrap(), ClaimId { batch: 1, number }) {
            // As in a run, the descriptor stays open until the claim is settled.
            Taken::Claim(claim) => claim,
            _ => panic!("not claimed"),
        })
        .collect();
    let ids = claims.iter().map(Claim::id).collect();
    let receipts = MemoryStore::default().commit(Group { claims: ids, ..Group::default() }).unwrap();
    assert_eq!(receipts.len() as u64, MAILS);
    let queue = Mutex::new(claims.into_iter().zip(receipts));
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((claim, receipt)) = next(&queue) {
                    spool.settle(claim, Settlement::Remove { receipt, keep: keep.clone() }).unwrap();
                }
            });
        }
    });
    start.elapsed()
}

fn next(queue: &Mutex<impl Iterator<Item = (Claim, Receipt)>>) -> Option<(Claim, Receipt)> {
    queue.lock().unwrap().next()
}

criterion_group! { name = benches; config = support::on_disk(); targets = settle }
criterion_main!(benches);
