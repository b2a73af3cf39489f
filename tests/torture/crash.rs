//! The process ends without a word, the machine too, and a backup is taken in the middle of it.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::mill::{Dice, Post, Server, end, kill};
use crate::{Extent, Tally, Told};

/// So many kills are wanted in the long run, whatever the clock says.
const KILLS: u64 = 300;

/// A round of mail of every kind: plain, for two lists, large, in part for nobody, again, and no mail at all.
fn round(post: &mut Post, dice: &mut Dice, drop: &Path, count: u64) -> u64 {
    let mut bad = 0;
    for _ in 0..count {
        match dice.below(20) {
            0 => {
                post.drop_letter(dice, drop, &["news", "nobody"], 100);
            }
            1 => {
                let name = format!("{:06}-junk.eml", post.dropped);
                post.put(drop, &name, format!("\0junk {}", post.dropped).as_bytes());
                bad += 1;
            }
            2 if !post.files.is_empty() => {
                let at = usize::try_from(dice.below(post.files.len() as u64)).unwrap();
                let (name, bytes) =
                    post.files.iter().nth(at).map(|(name, bytes)| (name.clone(), bytes.clone())).unwrap();
                post.put(drop, &format!("again-{}-{name}", post.dropped), &bytes);
            }
            3..6 => {
                let size = 100_000 + usize::try_from(dice.below(900_000)).unwrap();
                post.drop_letter(dice, drop, &["docs"], size);
            }
            6..10 => {
                post.drop_letter(dice, drop, &["news", "docs"], 2000);
            }
            _ => {
                post.drop_letter(dice, drop, &["news"], 500);
            }
        }
    }
    bad
}

/// The damaged mail is what was damaged from the start, and the refused what had a recipient nobody has.
fn nothing_innocent_is_set_aside(server: &Server, bad: u64) {
    let rows = server.good(&["failed", "ls", "--json"]).rows();
    let count = |folder: &str| rows.iter().filter(|row| row["folder"] == folder).count() as u64;
    let wrong: Vec<_> = rows
        .iter()
        .filter(|row| !matches!(row["reason"].as_str(), Some("unknown-address" | "not-a-message")))
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    assert_eq!(count("damaged"), bad);
}

/// The sheets that were written add up, and do not claim more items than there are.
fn sheets_add_up(server: &Server) {
    let sheets = server.good(&["history", "--json", "--limit", "1000000"]).rows();
    let sum = |key: &str| sheets.iter().map(|sheet| sheet[key].as_u64().unwrap()).sum::<u64>();
    let ends = ["delivered", "duplicates", "refused", "damaged", "deferred", "incomplete"].map(sum);
    assert_eq!(sum("found"), ends.iter().sum::<u64>());
    let items: u64 = server.items().values().sum();
    assert!(sum("items") <= items, "the sheets claim {} items of {items}", sum("items"));
}

pub fn kill_9_at_random_moments(extent: Extent) -> Told {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::new(folder.path(), "a");
    server.lists();
    let (mut dice, mut post) = (Dice::new(9), Post::default());
    let (wanted, time) = if extent.short { (20, Duration::MAX) } else { (KILLS, extent.time) };
    let start = Instant::now();
    // How long a batch takes when nobody kills it: the moments lie within that.
    let mut whole = Duration::from_millis(300);
    let (mut kills, mut bad) = (0, 0);
    while kills < wanted || (start.elapsed() < time && !extent.short) {
        bad += round(&mut post, &mut dice, &server.drop, 25);
        let moment = dice.moment(whole);
        let mut child = server.start(&["run", "--json"]);
        std::thread::sleep(moment);
        if !child.is_over() {
            kill(child);
            kills += 1;
        }
        // Now and then a batch comes to its end, and shows how long that takes.
        if kills % 10 == 9 {
            let begin = Instant::now();
            server.run();
            whole = begin.elapsed().mul_f64(1.1);
        }
    }
    server.drain();
    server.is_sound();
    nothing_innocent_is_set_aside(&server, bad);
    sheets_add_up(&server);
    Ok(post.account(&[&server], kills))
}

pub fn power_loss_undoes_what_was_not_synced(extent: Extent) -> Told {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::new(folder.path(), "a");
    server.lists();
    // Makes the folders: on a busy machine the first may be killed before it came so far.
    server.run();
    let (mut dice, mut post) = (Dice::new(12), Post::default());
    let start = Instant::now();
    let mut losses = 0;
    while losses < 4 || (start.elapsed() < extent.time && !extent.short) {
        let before: Vec<String> = post.files.keys().cloned().collect();
        for _ in 0..30 {
            let size = 200 + usize::try_from(dice.below(20_000)).unwrap();
            post.drop_letter(&mut dice, &server.drop, &["news", "docs"], size);
        }
        let log = newest_log(&server);
        let moment = Duration::from_millis(50 + dice.below(250));
        let child = server.start(&["run"]);
        std::thread::sleep(moment);
        kill(child);
        // The log of the store ends anywhere behind what was there before this batch.
        let Some((path, length)) = newest_log(&server) else { continue };
        let synced = log.filter(|(name, _)| *name == path).map_or(0, |(_, length)| length);
        let cut = synced + dice.below(length - synced + 1);
        fs::File::options().write(true).open(&path).unwrap().set_len(cut).unwrap();
        // With it the folder is as it was: what the log does not know was never claimed, committed or removed. Of the rest
        // each change may have reached the disk or not.
        let known = server.items();
        for (name, bytes) in post.files.iter().filter(|(name, _)| !before.contains(name)) {
            let id = String::from_utf8_lossy(bytes)
                .split("Message-ID: <")
                .nth(1)
                .unwrap()
                .split('>')
                .next()
                .unwrap()
                .to_owned();
            let is_known = known.contains_key(&("news".to_owned(), id.clone()));
            assert_eq!(is_known, known.contains_key(&("docs".to_owned(), id)), "half a group");
            let claim = claim_of(&server, name);
            let there = server.drop.join(name);
            if let Some(claim) = claim {
                if dice.one_in(2) {
                    fs::rename(claim, there).unwrap();
                }
            } else if !there.exists() && (!is_known || dice.one_in(2)) {
                fs::write(there, bytes).unwrap();
            }
        }
        losses += 1;
        server.drain();
    }
    server.is_sound();
    Ok(post.account(&[&server], losses))
}

fn newest_log(server: &Server) -> Option<(std::path::PathBuf, u64)> {
    let entries = fs::read_dir(server.store.join("db")).ok()?.flatten().map(|entry| entry.path());
    let newest = entries.filter(|path| path.extension().is_some_and(|end| end == "log")).max()?;
    let length = fs::metadata(&newest).ok()?.len();
    Some((newest, length))
}

fn claim_of(server: &Server, name: &str) -> Option<std::path::PathBuf> {
    let claimed = server.own().join("claimed");
    let claims = fs::read_dir(claimed).unwrap().map(|entry| entry.unwrap().path());
    let ending = format!("-{name}.claim");
    claims.into_iter().find(|path| path.to_string_lossy().ends_with(&ending))
}

pub fn backup_while_running_is_restored_and_equal(extent: Extent) -> Told {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::new(folder.path(), "a");
    server.lists();
    let (mut dice, mut post) = (Dice::new(3), Post::default());
    let watch = server.start(&["watch", "--every", "50ms"]);
    let rounds = if extent.short { 2 } else { 10 };
    let mut tally = Tally::default();
    for number in 0..rounds {
        for _ in 0..100 {
            let size = usize::try_from(dice.below(50_000)).unwrap();
            post.drop_letter(&mut dice, &server.drop, &["news", "docs"], size);
        }
        let backup = folder.path().join(format!("backup-{number}"));
        server.good(&["backup", backup.to_str().unwrap()]);
        // The copy is sound and whole groups only; all of it is still in the original.
        let copy = Server::new(folder.path(), &format!("copy-{number}"));
        fs::remove_dir(&copy.store).unwrap();
        copy.good(&["restore", backup.to_str().unwrap()]);
        copy.run();
        copy.is_sound();
        let (copied, all) = (copy.items(), server.items());
        assert!(copied.iter().all(|(key, count)| all.get(key) == Some(count) && *count == 1));
        let other =
            |(list, id): &(String, String)| (if list == "news" { "docs" } else { "news" }.to_owned(), id.clone());
        assert!(copied.keys().all(|key| copied.contains_key(&other(key))), "half a mail");
        // It has forgotten what came later, and knows what it has: all mail dropped into it once more is in it once.
        for (name, bytes) in &post.files {
            fs::write(copy.drop.join(name), bytes).unwrap();
        }
        copy.drain();
        let account = post.account(&[&copy], 1);
        tally = Tally {
            runs: tally.runs + 1,
            lost: tally.lost + account.lost,
            doubled: tally.doubled + account.doubled,
            ..account
        };
        fs::remove_dir_all(&copy.folder).unwrap();
    }
    crate::mill::until("the folder is empty", || server.waiting().is_empty());
    server.good(&["stop"]);
    end(watch).ends(0);
    server.drain();
    server.is_sound();
    let account = post.account(&[&server], 0);
    Ok(Tally { lost: tally.lost + account.lost, doubled: tally.doubled + account.doubled, ..tally })
}
