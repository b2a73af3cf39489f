//! Mail comes in by SMTP, and the service is killed while it does: what was answered 250 is in a list, once.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::load::Load;
use crate::mill::{Dice, Running, Server, end, kill};
use crate::{Extent, Tally, Told};

/// So many kills are wanted in the long run, whatever the clock says.
const KILLS: u64 = 100;

/// Nobody else listens there: all of 127.0.0.0/8 is this machine's.
const ADDRESS: &str = "127.77.7.7:2525";

pub fn smtp_killed_under_load(extent: Extent) -> Told {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::new(folder.path(), "a");
    server.configure(&format!("[smtp]\nlisten = [\"{ADDRESS}\"]"));
    server.list("news", "announcements");
    let mut dice = Dice::new(7);
    let (wanted, time) = if extent.short { (5, Duration::MAX) } else { (KILLS, extent.time) };
    let load = Load::start(ADDRESS, 16, 4000);
    let (start, mut kills) = (Instant::now(), 0);
    while kills < wanted || (start.elapsed() < time && !extent.short) {
        let mut serve = serve(&server);
        let before = load.accepted();
        let patience = Instant::now();
        while load.accepted() < before + 10 {
            assert!(!serve.is_over(), "it ended by itself after {kills} kills: {:?}", end(serve));
            assert!(patience.elapsed() < Duration::from_mins(1), "no mail comes in");
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(dice.moment(Duration::from_millis(150)));
        kill(serve);
        kills += 1;
    }
    let last = serve(&server);
    let accepted = load.end();
    kill(last);
    server.drain();
    server.is_sound();
    let mut times: BTreeMap<String, u64> = BTreeMap::new();
    for item in server.good(&["items", "news", "--json"]).rows() {
        *times.entry(item["title"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    let lost = accepted.iter().filter(|title| !times.contains_key(*title)).count() as u64;
    let doubled = times.values().map(|count| count - 1).sum();
    let half_written = server.good(&["failed", "ls", "--json"]).rows();
    assert!(half_written.is_empty(), "{half_written:?}");
    Ok(Tally { runs: kills, mails: accepted.len() as u64, lost, doubled })
}

fn serve(server: &Server) -> Running {
    let running = server.start(&["-q", "serve", "--every", "1h"]);
    let patience = Instant::now();
    while TcpStream::connect(ADDRESS).is_err() {
        assert!(patience.elapsed() < Duration::from_mins(1), "nobody listens");
        std::thread::sleep(Duration::from_millis(2));
    }
    running
}
