//! Several servers on one drop folder, each with a store of its own; and what becomes of the mail of one that dies, or sleeps.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;

use crate::mill::{Dice, Post, Server, end, kill, signal, until};
use crate::share::{Manners, Share, is_possible};
use crate::{Extent, Tally, Told};

fn beside(folder: &Path, name: &str, drop: &Path, more: &str) -> Server {
    let own = folder.join(name);
    let server = Server::on(&own, name, drop, &own.join("store"), more);
    server.lists();
    server
}

pub fn four_servers_share_one_folder(extent: Extent) -> Told {
    const SERVERS: usize = 4;
    let folder = tempfile::tempdir().unwrap();
    let drop = folder.path().join("drop");
    let count: u64 = if extent.short { 6_000 } else { 40_000 };
    let servers: Vec<_> = (0..SERVERS).map(|at| beside(folder.path(), &format!("server-{at}"), &drop, "")).collect();
    let (mut dice, mut post) = (Dice::new(4), Post::default());
    // All of it is there at once, when all four are there to take it.
    let staging = folder.path().join("staging");
    fs::create_dir_all(&staging).unwrap();
    for _ in 0..count {
        let (name, bytes) = post.letter(&mut dice, &["news"], 1500);
        fs::write(staging.join(name), bytes).unwrap();
        post.dropped += 1;
    }
    let watching: Vec<_> =
        servers.iter().map(|server| server.start(&["-v", "watch", "--every", "100ms", "--json"])).collect();
    for server in &servers {
        until("it watches", || server.ask(&["status", "--json"]).out.contains("\"running\":true"));
    }
    for name in post.files.keys() {
        fs::rename(staging.join(name), drop.join(name)).unwrap();
    }
    until("the folder is empty", || servers[0].waiting().is_empty());
    let (mut shares, mut taken, mut lost) = (Vec::new(), 0, 0);
    for (server, child) in servers.iter().zip(watching) {
        server.good(&["stop"]);
        let answer = end(child).ends(0);
        let delivered: u64 = answer.rows().iter().map(|row| row["delivered"].as_u64().unwrap()).sum();
        taken += delivered;
        shares.push(delivered);
        let words = answer.err.split_whitespace().filter_map(|word| word.strip_prefix("lost="));
        lost += words.map(|number| number.parse::<u64>().unwrap()).sum::<u64>();
        server.is_sound();
    }
    println!("four servers: {shares:?} mails each, {lost} claims lost of {}", taken + lost);
    assert_eq!(taken, count);
    assert!(shares.iter().all(|share| *share * SERVERS as u64 * 4 > count), "one starves: {shares:?}");
    assert!(lost * 10 < taken, "{lost} claims lost, {taken} won");
    let all: Vec<_> = servers.iter().collect();
    Ok(post.account(&all, SERVERS as u64))
}

/// A batch that is killed at a random moment.
fn killed(server: &Server, dice: &mut Dice, within: Duration) {
    let child = server.start(&["run"]);
    std::thread::sleep(dice.moment(within));
    kill(child);
}

pub fn dead_server_reclaimed_with_its_store(extent: Extent) -> Told {
    let folder = tempfile::tempdir().unwrap();
    let drop = folder.path().join("drop");
    let (dead, heir) = (beside(folder.path(), "dead", &drop, ""), beside(folder.path(), "heir", &drop, ""));
    let (mut dice, mut post) = (Dice::new(8), Post::default());
    let rounds = if extent.short { 4 } else { 60 };
    for round in 0..rounds {
        for number in 0..60 {
            let to: &[&str] = if number % 10 == 0 { &["news", "nobody"] } else { &["news", "docs"] };
            post.drop_letter(&mut dice, &drop, to, 3000);
        }
        killed(&dead, &mut dice, Duration::from_millis(250));
        heir.run();
        let store = dead.store.to_str().unwrap();
        if round % 3 == 1 {
            // The reclaim is killed as well, and run again.
            let child = heir.start(&["reclaim", "--server", "dead", "--store", store]);
            std::thread::sleep(Duration::from_millis(dice.below(100)));
            kill(child);
        }
        if dead.has_claim_folder() {
            heir.good(&["reclaim", "--server", "dead", "--store", store]);
        }
        heir.drain();
    }
    heir.is_sound();
    dead.ask(&["verify"]).ends(0);
    Ok(post.account(&[&dead, &heir], rounds))
}

pub fn dead_server_whose_store_is_lost(extent: Extent) -> Told {
    let mut sum = Tally::default();
    for round in 0..if extent.short { 2 } else { 20 } {
        let folder = tempfile::tempdir().unwrap();
        let drop = folder.path().join("drop");
        let (dead, heir) = (beside(folder.path(), "dead", &drop, ""), beside(folder.path(), "heir", &drop, ""));
        let (mut dice, mut post) = (Dice::new(80 + round), Post::default());
        for _ in 0..300 {
            post.drop_letter(&mut dice, &drop, &["news", "docs"], 3000);
        }
        killed(&dead, &mut dice, Duration::from_millis(300));
        fs::remove_dir_all(&dead.store).unwrap();
        // What is still a file somewhere must be delivered, once. What it had delivered is lost with its store.
        let mut there = heir.waiting();
        if dead.has_claim_folder() {
            let claims = dead.names_in("claimed");
            let name = |claim: &String| {
                claim.strip_suffix(".claim").and_then(|name| name.splitn(3, '-').nth(2)).map(str::to_owned)
            };
            there.extend(claims.iter().filter_map(name));
        }
        let names = &post.names;
        post.wanted.retain(|(_, id)| there.contains(&names[id]));
        if dead.has_claim_folder() {
            heir.good(&["reclaim", "--server", "dead", "--store-lost"]);
        }
        heir.drain();
        heir.is_sound();
        let one = post.account(&[&heir], 1);
        sum = Tally {
            runs: sum.runs + 1,
            mails: sum.mails + one.mails,
            lost: sum.lost + one.lost,
            doubled: sum.doubled + one.doubled,
        };
    }
    Ok(sum)
}

pub fn paused_server_wakes_up_reclaimed(extent: Extent) -> Told {
    is_possible()?;
    let mut sum = Tally::default();
    for round in 0..if extent.short { 1 } else { 12 } {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().join("drop");
        fs::create_dir_all(&real).unwrap();
        let manners = Manners { stalls: Some("stalls".to_owned()), ..Manners::default() };
        let share = Share::mount(&real, &folder.path().join("share"), round, manners)?;
        // It waits in the middle of a batch: one file cannot be read, and the group waits for it.
        let patient = "[limits]\ngroup_age = \"1h\"\ngroup_mails = 100000\nworkers = 2";
        let sleeper = beside(folder.path(), "sleeper", share.path(), patient);
        let heir = beside(folder.path(), "heir", &real, "");
        let (mut dice, mut post) = (Dice::new(90 + round), Post::default());
        // No more than a worker judges in one go: what was committed before it sleeps would be another story.
        for _ in 0..15 {
            post.drop_letter(&mut dice, &real, &["news", "docs"], 2000);
        }
        let (_, bytes) = post.letter(&mut dice, &["news"], 2000);
        post.put(&real, "stalls.eml", &bytes);
        let child = sleeper.start(&["run", "--json"]);
        until("it reads", || share.is_stalling());
        signal(&child, Signal::STOP);
        heir.good(&["reclaim", "--server", "sleeper", "--store-lost"]);
        let drained = heir.drain();
        share.release();
        signal(&child, Signal::CONT);
        let answer = end(child).ends(1).says("is not our claim folder any more");
        let sheet = crate::mill::sheet(&answer.out);
        assert_eq!((sheet.delivered, sheet.items), (0, 0), "{sheet:?}");
        assert!(sheet.balanced && sleeper.items().is_empty());
        // It starts again, and works as before.
        post.drop_letter(&mut dice, &real, &["news"], 100);
        sleeper.drain();
        heir.drain();
        heir.is_sound();
        let one = post.account(&[&sleeper, &heir], drained);
        sum = Tally {
            runs: sum.runs + 1,
            mails: sum.mails + one.mails,
            lost: sum.lost + one.lost,
            doubled: sum.doubled + one.doubled,
        };
    }
    Ok(sum)
}
