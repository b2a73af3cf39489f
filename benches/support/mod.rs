//! What the benches share: mail to work on, lists to put it into, and a frame that keeps each bench within some twenty seconds.
//! Files lie in the folder of `TMPDIR`: point it at the disk that is to be measured.
#![allow(dead_code)] // each bench uses some of it

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use criterion::{Criterion, SamplingMode, Throughput};
use mailmill::directory::Directory;
use mailmill::generate::{Generator, Profile};
use mailmill::model::list::{Kind, List, ListId};
use mailmill::model::mail::{ClaimId, MailId};
use mailmill::model::plan::Plan;
use mailmill::model::settings::{ListSettings, Senders};
use mailmill::pipeline::parse::{Bounds, Parser, decode, decode_text};
use mailmill::pipeline::plan::{Decode, Facts, plan};
use mailmill::pipeline::{envelope, route};

/// A row of mail of one profile.
pub struct Mails {
    pub name: &'static str,
    pub profile: Profile,
    pub files: Vec<Vec<u8>>,
}

impl Mails {
    pub fn new(profile: Profile, count: u64) -> Self {
        let name = if matches!(profile, Profile::Small) { "small" } else { "mixed" };
        let generator = Generator::new(profile, SEED, 1);
        Self { name, profile, files: (0..count).map(|index| generator.message(index)).collect() }
    }

    /// A thousand small mails are 4.5 MB, two hundred mixed ones 28 MB.
    pub fn both() -> [Self; 2] {
        [Self::new(Profile::Small, 1000), Self::new(Profile::Mixed, 200)]
    }

    pub fn throughput(&self) -> Throughput {
        let bytes = self.files.iter().map(|file| file.len() as u64).sum();
        Throughput::ElementsAndBytes { elements: self.files.len() as u64, bytes }
    }
}

pub const DECODE: Decode = Decode { bytes: decode, text: decode_text };

/// Same seed, same mail: figures of two days can be compared.
pub const SEED: u64 = 1;

pub fn parser() -> Parser {
    Parser::new(Bounds::default())
}

/// What the generator writes to, as a library: the kind that asks most of the committer.
pub fn settings() -> ListSettings {
    ListSettings { address: "list0".to_owned(), senders: Senders::Any, ..ListSettings::default() }
}

pub fn directory() -> Directory {
    let list = List { id: ListId(1), name: "list0".to_owned(), kind: Kind::DocumentLibrary, settings: settings() };
    Directory::new(vec![list], &[])
}

/// From the bytes of a drop file to its plan, as a worker goes.
pub fn plan_of(file: &[u8], number: u64, parser: &Parser, directory: &Directory) -> Plan {
    let (found, original) = envelope::split(file);
    let envelope = found.unwrap_or_default();
    let mail = match parser.parse(original) {
        Ok(mail) => mail,
        Err(reason) => panic!("generated mail is {reason}"),
    };
    let routed = route::route(&envelope, &mail, file.len() as u64, directory, &route::Groups::new());
    let facts = Facts {
        claim: ClaimId { batch: 1, number },
        source: "x.eml".to_owned(),
        size: file.len() as u64,
        mail_id: MailId::of(file),
        sender: envelope.sender,
        received: 0,
    };
    plan(facts, mail, routed, DECODE)
}

pub fn plans(mails: &Mails) -> Vec<Plan> {
    let (parser, directory) = (parser(), directory());
    (1..).zip(&mails.files).map(|(number, file)| plan_of(file, number, &parser, &directory)).collect()
}

/// A file that was never written to the disk has no blocks to free, as mail that waited for a while has.
pub fn write_out(folder: &Path) {
    rustix::fs::syncfs(File::open(folder).unwrap()).unwrap();
}

/// For what computes: many short rounds.
pub fn quick() -> Criterion {
    Criterion::default().sample_size(20).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3))
}

/// For what works on files: few long rounds, most of whose time is spent on preparing the next one.
pub fn on_disk() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(1))
        .measurement_time(Duration::from_millis(500))
}

/// One round a sample, where criterion would rather have ever more.
pub const SAMPLING: SamplingMode = SamplingMode::Flat;
