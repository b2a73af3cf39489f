//! Plans into a store: building the group and one synced write of it. The memory store shows what the committer itself costs, RocksDB
//! what the disk adds. One group is 1,000 small mails, or 16 MB of mixed ones as the engine cuts them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // it fails by panicking
#![allow(clippy::disallowed_methods)] // it plays administrator and writer
#![allow(missing_docs)]

mod support;

use std::time::{Duration, Instant};

use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main, measurement::WallTime};
use mailmill::directory::Directory;
use mailmill::model::plan::Plan;
use mailmill::pipeline::commit::GroupBuilder;
use mailmill::store::{ListStore, MemoryStore};
use support::Mails;

const GROUP_BYTES: u64 = 16 << 20;

fn commit(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("commit");
    group.sampling_mode(support::SAMPLING);
    for mails in Mails::both() {
        let plans = support::plans(&mails);
        group.throughput(mails.throughput());
        bench(&mut group, &format!("{}, memory", mails.name), &plans, &|| (MemoryStore::default(), ()));
        #[cfg(feature = "rocks")]
        bench(&mut group, &format!("{}, rocksdb", mails.name), &plans, &|| {
            let folder = tempfile::tempdir().unwrap();
            (mailmill::store::RocksStore::open(folder.path()).unwrap(), folder)
        });
    }
    group.finish();
}

/// Each round has a store of its own, so that no mail is a duplicate.
fn bench<S: ListStore, G>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    plans: &[Plan],
    make: &dyn Fn() -> (S, G),
) {
    let directory = support::directory();
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|rounds| {
            let mut spent = Duration::ZERO;
            for _ in 0..rounds {
                let (store, _guard) = make();
                let plans = plans.to_vec();
                let start = Instant::now();
                commit_all(&store, plans, &directory);
                spent += start.elapsed();
            }
            spent
        });
    });
}

fn commit_all(store: &dyn ListStore, plans: Vec<Plan>, directory: &Directory) {
    let mut builder = GroupBuilder::new(store, 0);
    for plan in plans {
        builder.add(plan, directory).unwrap();
        if builder.weight() >= GROUP_BYTES {
            store.commit(std::mem::replace(&mut builder, GroupBuilder::new(store, 0)).finish().group).unwrap();
        }
    }
    store.commit(builder.finish().group).unwrap();
}

criterion_group! { name = benches; config = support::on_disk(); targets = commit }
criterion_main!(benches);
