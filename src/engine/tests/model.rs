//! The model test: random stories told to a real server and to the plainest model of one. What a crash leaves open is looked
//! up afterwards, within the bounds of what may have happened; everything else must be as the model says.
//! Seeds of stories that failed once are kept in `testdata/regress/`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::{FileFailurePersistence, RngSeed};
use rustix::io::Errno;

use super::{Server, folder, letter, tell};
use crate::engine::{Mill, Progress, Work};
use crate::model::list::{ItemId, Kind};
use crate::model::mail::MailId;
use crate::spool::{At, Fault};

#[derive(Clone, Copy, Debug)]
enum Step {
    /// One of the mails is dropped, for the first time or again.
    Drop(usize),
    Run,
    RunSome(u64),
    /// A batch dies or fails at this call.
    Batch(usize, Bad),
    Retry,
    RetryBatch(usize, Bad),
    Discard,
    /// The third list is made, deleted, opened or closed.
    Make,
    Delete,
    Receive(bool),
}

#[derive(Clone, Copy, Debug)]
enum Bad {
    Death,
    PowerLoss,
    Error,
}

/// To whom each mail goes. `other` may not be there or not receive; `nobody` never is.
const MAILS: [&[&str]; 9] = [
    &["news"],
    &["docs"],
    &["news", "docs"],
    &["news", "other"],
    &["other"],
    &["docs", "other", "nobody"],
    &["nobody"],
    &["other", "news", "docs"],
    &[],
];

fn bytes(mail: usize) -> Vec<u8> {
    let to = MAILS[mail];
    // The last one is no mail at all.
    if to.is_empty() { Vec::new() } else { letter(&format!("mail-{mail}"), to, &[("report.txt", "the same")]) }
}

fn step() -> impl Strategy<Value = Step> {
    let bad = || prop_oneof![Just(Bad::Death), Just(Bad::PowerLoss), Just(Bad::Error)];
    prop_oneof![
        8 => (0..MAILS.len()).prop_map(Step::Drop),
        2 => Just(Step::Run),
        1 => (1..4_u64).prop_map(Step::RunSome),
        4 => (0..120_usize, bad()).prop_map(|(at, bad)| Step::Batch(at, bad)),
        1 => Just(Step::Retry),
        2 => (0..60_usize, bad()).prop_map(|(at, bad)| Step::RetryBatch(at, bad)),
        1 => Just(Step::Discard),
        1 => Just(Step::Make),
        1 => Just(Step::Delete),
        1 => any::<bool>().prop_map(Step::Receive),
    ]
}

/// Where everything is, as plainly as it can be said. Files are counted by mail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Model {
    delivered: BTreeSet<(String, usize)>,
    /// In the drop folder or claimed.
    waiting: BTreeMap<usize, u64>,
    /// Refused or damaged.
    failed: BTreeMap<usize, u64>,
}

/// The third list: not there, or there and receiving or not.
type Other = Option<bool>;

impl Model {
    fn good(mail: usize, other: Other) -> impl Iterator<Item = &'static str> {
        let receives =
            move |list: &&str| *list == "news" || *list == "docs" || (*list == "other" && other == Some(true));
        MAILS[mail].iter().copied().filter(receives)
    }

    fn is_removed(mail: usize, other: Other) -> bool {
        !MAILS[mail].is_empty() && Self::good(mail, other).count() == MAILS[mail].len()
    }

    fn judge(&mut self, files: BTreeMap<usize, u64>, other: Other) {
        for (mail, count) in files {
            self.delivered.extend(Self::good(mail, other).map(|list| (list.to_owned(), mail)));
            if !Self::is_removed(mail, other) {
                *self.failed.entry(mail).or_default() += count;
            }
        }
    }

    fn run(&mut self, other: Other) {
        let files = std::mem::take(&mut self.waiting);
        self.judge(files, other);
    }

    fn retry(&mut self, other: Other) {
        let files = std::mem::take(&mut self.failed);
        self.judge(files, other);
    }

    fn files(&self, mail: usize) -> u64 {
        let count = |files: &BTreeMap<usize, u64>| files.get(&mail).copied().unwrap_or_default();
        count(&self.waiting) + count(&self.failed)
    }
}

struct Story {
    server: Server,
    model: Model,
    other: Other,
    dropped: u64,
    batches: u64,
}

impl Story {
    fn new(folder: &Path) -> Self {
        let server = Server::new(folder, "a");
        server.list("news", Kind::Announcements, |_| ());
        server.list("docs", Kind::DocumentLibrary, |list| list.overwrite = true);
        Self { server, model: Model::default(), other: None, dropped: 0, batches: 0 }
    }

    fn tell(&mut self, step: Step) {
        match step {
            Step::Drop(mail) => {
                self.dropped += 1;
                self.server.put(format!("{}.eml", self.dropped), bytes(mail));
                *self.model.waiting.entry(mail).or_default() += 1;
            }
            Step::Run => {
                self.batch(None);
                self.model.run(self.other);
            }
            Step::RunSome(limit) => {
                let before = self.model.clone();
                self.model.run(self.other);
                self.batch(Some(limit));
                self.look(&before);
            }
            Step::Batch(at, bad) => {
                let before = self.model.clone();
                self.model.run(self.other);
                self.goes_wrong(at, bad, |mill| {
                    mill.run(Work::DropFolder { limit: None }, &Progress::default());
                });
                self.look(&before);
            }
            Step::Retry => {
                retry(&self.server.mill());
                self.model.retry(self.other);
            }
            Step::RetryBatch(at, bad) => {
                let before = self.model.clone();
                self.model.retry(self.other);
                self.goes_wrong(at, bad, retry);
                self.look(&before);
            }
            Step::Discard => {
                let spool = self.server.mill().spool().unwrap();
                spool.failed().unwrap().iter().for_each(|mail| spool.discard(mail).unwrap());
                self.model.failed.clear();
            }
            Step::Make if self.other.is_none() => {
                self.server.list("other", Kind::DiscussionBoard, |_| ());
                self.other = Some(true);
            }
            Step::Delete if self.other.is_some() => {
                self.server.mill().lists().delete("other").unwrap();
                self.model.delivered.retain(|(list, _)| list != "other");
                self.other = None;
            }
            Step::Receive(receive) if self.other.is_some() => {
                let mill = self.server.mill();
                mill.lists().set("other", |settings| settings.assign(&format!("receive={receive}"))).unwrap();
                self.other = Some(receive);
            }
            Step::Make | Step::Delete | Step::Receive(_) => {}
        }
        assert_eq!(self.seen(), self.model, "after {step:?}");
    }

    fn batch(&self, limit: Option<u64>) {
        let result = self.server.mill().run(Work::DropFolder { limit }, &Progress::default());
        assert!(result.error.is_none() && result.sheet.balanced, "{result:?}");
        assert!(result.sheet.found <= limit.unwrap_or(u64::MAX));
    }

    fn goes_wrong(&mut self, at: usize, bad: Bad, act: impl Fn(&Mill)) {
        self.batches += 1;
        let fault = if matches!(bad, Bad::Error) { Fault::Error(Errno::IO) } else { Fault::Death };
        self.server.faults.arm(At::Call(at), fault);
        if let Ok(mill) = Mill::new(self.server.config.clone(), self.server.store.clone()) {
            act(&mill);
        }
        self.server.faults.disarm();
        if matches!(bad, Bad::PowerLoss) {
            self.server.undo_claims(|claim| claim.id().number % 2 == at as u64 % 2);
        }
    }

    /// After a crash: between nothing and everything was done, and no file vanished that is not delivered to all its lists.
    fn look(&mut self, before: &Model) {
        let seen = self.seen();
        assert!(seen.delivered.is_superset(&before.delivered), "an item is gone");
        assert!(seen.delivered.is_subset(&self.model.delivered), "an item came from nowhere");
        for (mail, lists) in MAILS.iter().enumerate() {
            let (was, is) = (before.files(mail), seen.files(mail));
            assert!(is <= was, "mail {mail} is there {is} times, was {was}");
            let all = lists.iter().all(|list| seen.delivered.contains(&((*list).to_owned(), mail)));
            assert!(is == was || (Model::is_removed(mail, self.other) && all), "a file of mail {mail} was lost");
        }
        self.model = seen;
    }

    /// What is really there. Everything in a store is there once at most.
    fn seen(&self) -> Model {
        let by_id: BTreeMap<MailId, usize> = (0..MAILS.len()).map(|mail| (MailId::of(&bytes(mail)), mail)).collect();
        let mut seen = Model::default();
        for list in self.server.store.inner.lists().unwrap() {
            for (_, item) in self.server.store.inner.items(list.id, ItemId(0), usize::MAX).unwrap() {
                assert!(seen.delivered.insert((list.name.clone(), by_id[&item.mail_id])), "twice in {}", list.name);
            }
        }
        let own = self.server.own();
        let mut count = |place: &Path, waiting: bool| {
            for entry in fs::read_dir(place).into_iter().flatten().flatten() {
                let name = entry.file_name();
                let is_mail = name.to_string_lossy().contains(".eml");
                if is_mail && entry.file_type().unwrap().is_file() {
                    let mail = by_id[&MailId::of(&fs::read(entry.path()).unwrap())];
                    let files = if waiting { &mut seen.waiting } else { &mut seen.failed };
                    *files.entry(mail).or_default() += 1;
                }
            }
        };
        count(&self.server.config.incoming.drop_folder, true);
        count(&own.join("claimed"), true);
        count(&own.join("refused"), false);
        count(&own.join("damaged"), false);
        seen
    }

    /// Everything that can be delivered is, in the end.
    fn end(&mut self) {
        self.tell(Step::Make);
        self.tell(Step::Receive(true));
        self.tell(Step::Run);
        self.tell(Step::Retry);
        self.server.mill().verify(true).unwrap();
        assert!(self.server.account().is_once_each());
        assert!(self.model.waiting.is_empty());
        assert!(self.model.failed.keys().all(|mail| MAILS[*mail].is_empty() || MAILS[*mail].contains(&"nobody")));
    }
}

fn retry(mill: &Mill) {
    let Ok(spool) = mill.spool() else { return };
    let Ok(failed) = spool.failed() else { return };
    let claims: Vec<_> = failed.iter().filter_map(|mail| spool.retry(mail).ok()).collect();
    mill.run(Work::Claims(claims), &Progress::default());
}

#[test]
fn any_story_ends_as_the_plainest_model_says() {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let stories = u32::try_from(number("TORTURE_STORIES").unwrap_or(300)).unwrap();
    let config = ProptestConfig {
        cases: stories,
        rng_seed: RngSeed::Fixed(number("TORTURE_SEED").unwrap_or(2026)),
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("testdata/regress/model.txt"))),
        ..ProptestConfig::default()
    };
    let told = std::cell::Cell::new((0, 0));
    proptest!(config, |(steps in prop::collection::vec(step(), 1..30))| {
        let folder = folder();
        let mut story = Story::new(folder.path());
        for step in steps {
            story.tell(step);
        }
        story.end();
        told.set((told.get().0 + story.batches, told.get().1 + story.dropped));
    });
    tell("random stories against a model", told.get().0, told.get().1);
}
