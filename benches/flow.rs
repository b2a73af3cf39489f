//! A whole batch, from a full drop folder to an empty one, with the engine's own threads. With RocksDB this is what `mailmill run`
//! does; with the memory store it is what everything but the store costs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // it fails by panicking
#![allow(clippy::disallowed_methods)] // it plays administrator and writer
#![allow(missing_docs)]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use mailmill::config::{Config, Incoming};
use mailmill::engine::{Mill, Progress, Work};
use mailmill::generate::{Generator, Profile, fill};
use mailmill::model::list::Kind;
use mailmill::store::{ListStore, MemoryStore};
use support::Mails;

type Open = fn(&Path) -> Arc<dyn ListStore>;

fn flow(criterion: &mut Criterion) {
    mailmill::engine::raise_file_limit();
    mailmill::spool::ignore_lease_signals();
    let stores: &[(&str, Open)] = &[
        ("memory", |_| Arc::new(MemoryStore::default())),
        #[cfg(feature = "rocks")]
        ("rocksdb", |path| mailmill::store::open(path).unwrap()),
    ];
    let mut group = criterion.benchmark_group("flow");
    group.sampling_mode(support::SAMPLING);
    for mails in [Mails::new(Profile::Small, 4000), Mails::new(Profile::Mixed, 400)] {
        group.throughput(mails.throughput());
        for (name, open) in stores {
            group.bench_function(format!("{}, {name}", mails.name), |bencher| {
                bencher.iter_custom(|rounds| (0..rounds).map(|_| round(&mails, *open)).sum());
            });
        }
    }
    group.finish();
}

fn round(mails: &Mails, open: Open) -> Duration {
    let folder = tempfile::tempdir().unwrap();
    let (drop_folder, store) = (folder.path().join("drop"), folder.path().join("store"));
    let generator = Generator::new(mails.profile, support::SEED, 1);
    fill(&drop_folder, &generator, mails.files.len() as u64, &mut |_| ()).unwrap();
    let config =
        Config { incoming: Incoming { drop_folder, ..Incoming::default() }, store: store.clone(), ..Config::default() };
    let mill = Mill::new(config, open(&store)).unwrap();
    mill.lists().create("list0", Kind::DocumentLibrary, support::settings()).unwrap();
    support::write_out(folder.path());
    let start = Instant::now();
    let result = mill.run(Work::DropFolder { limit: None }, &Progress::default());
    let spent = start.elapsed();
    assert!(result.error.is_none(), "{:?}", result.error);
    assert_eq!(result.sheet.delivered, mails.files.len() as u64);
    spent
}

criterion_group! { name = benches; config = support::on_disk(); targets = flow }
criterion_main!(benches);
