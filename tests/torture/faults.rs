//! Disks that fill up, folders that go away, descriptors that run out, clocks that jump. The program stops cleanly, says why,
//! and the next run delivers what waits.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use crate::mill::{Dice, Post, Server, end, sheet, until};
use crate::mount::Tmpfs;
use crate::share::{Manners, Share, is_possible};
use crate::{Cannot, Extent, Tally, Told};

/// Adds up scenarios that are told several times.
fn add(sum: Tally, one: Tally) -> Tally {
    Tally {
        runs: sum.runs + one.runs,
        mails: sum.mails + one.mails,
        lost: sum.lost + one.lost,
        doubled: sum.doubled + one.doubled,
    }
}

/// Mail until so many bytes lie there.
fn fill(post: &mut Post, dice: &mut Dice, drop: &Path, bytes: usize, size: usize) {
    for _ in 0..bytes / size {
        post.drop_letter(dice, drop, &["news", "docs"], size);
    }
}

/// A server whose store is on a disk that is soon full: at the reserve, or with none at the wall.
fn on_a_small_disk(folder: &Path, reserve: &str) -> Result<(Server, Tmpfs), Cannot> {
    // The default reserve is what the store may have in memory, and must be able to write when it is opened again.
    let size = if reserve == "0" { "size=48m" } else { "size=112m" };
    let disk = Tmpfs::new(&folder.join("disk"), size)?;
    let more = format!("[limits]\nstore_reserve = \"{reserve}\"");
    let server = Server::on(&folder.join("a"), "a", &folder.join("a/drop"), &disk.path().join("store"), &more);
    server.lists();
    Ok((server, disk))
}

pub fn store_disk_full(extent: Extent) -> Told {
    let mut sum = Tally::default();
    let times = if extent.short { 1 } else { 4 };
    for (number, reserve) in ["64MiB", "0"].into_iter().cycle().take(times * 2).enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let (server, disk) = on_a_small_disk(folder.path(), reserve)?;
        let (mut dice, mut post) = (Dice::new(56 + number as u64), Post::default());
        fill(&mut post, &mut dice, &server.drop, 80 << 20, 150_000);
        let answer = server.ask(&["run", "--json"]).ends(3).says("full");
        let sheet = sheet(&answer.out);
        assert!(sheet.balanced && sheet.deferred > 0, "{sheet:?}");
        assert!(answer.out.contains("\"store-full\""), "{}", answer.out);
        // A store that ran into the wall may not even open before there is room.
        let again = server.ask(&["run", "--json"]).says("full");
        assert!(again.code == Some(3) || reserve == "0", "{again:?}");
        disk.remount("size=400m");
        server.drain();
        server.is_sound();
        sum = add(sum, post.account(&[&server], 3));
    }
    Ok(sum)
}

pub fn store_disk_full_while_watching(_: Extent) -> Told {
    let mut sum = Tally::default();
    for reserve in ["64MiB", "0"] {
        let folder = tempfile::tempdir().unwrap();
        let (server, disk) = on_a_small_disk(folder.path(), reserve)?;
        let (mut dice, mut post) = (Dice::new(57), Post::default());
        fill(&mut post, &mut dice, &server.drop, 80 << 20, 150_000);
        let watch = server.start(&["watch", "--every", "100ms", "--json"]);
        // The waits grow: 100, 200, 400, 800, 1600 ms, where every 100 ms would be thirty batches.
        std::thread::sleep(Duration::from_millis(3100));
        disk.remount("size=400m");
        // It goes on by itself.
        until("it tries again", || server.names_in("claimed").is_empty() && server.waiting().is_empty());
        server.good(&["stop"]);
        let answer = end(watch).ends(0);
        let batches = answer.rows().iter().filter(|row| row["deferred"].as_u64() > Some(0)).count();
        assert!((1..=9).contains(&batches), "{batches} batches in three seconds");
        server.drain();
        server.is_sound();
        sum = add(sum, post.account(&[&server], batches as u64));
    }
    Ok(sum)
}

pub fn store_quota_and_io_errors(extent: Extent) -> Told {
    is_possible()?;
    let mut sum = Tally::default();
    let mut dice = Dice::new(17);
    for number in 0..if extent.short { 3 } else { 24 } {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().join("real");
        fs::create_dir_all(&real).unwrap();
        let share = Share::mount(&real, &folder.path().join("share"), number, Manners::default())?;
        let store = share.path().join("store");
        let more = "[limits]\nstore_reserve = \"0\"\ngroup_mails = 20";
        let server = Server::on(&folder.path().join("a"), "a", &folder.path().join("a/drop"), &store, more);
        server.lists();
        let mut post = Post::default();
        fill(&mut post, &mut dice, &server.drop, 2 << 20, 10_000);
        let is_quota = number % 3 == 0;
        let at = dice.below(if is_quota { 3 << 20 } else { 12 });
        share.change(|manners| {
            if is_quota {
                manners.quota = Some(at);
            } else {
                manners.syncs = Some(at);
            }
        });
        let answer = server.ask(&["run", "--json"]);
        let wanted: &[i32] = if is_quota { &[0, 1, 3] } else { &[0, 1] };
        assert!(answer.code.is_some_and(|code| wanted.contains(&code)), "{answer:?}");
        if !answer.out.is_empty() {
            assert!(sheet(&answer.out).balanced, "{answer:?}");
        }
        share.change(|manners| *manners = Manners::default());
        server.drain();
        server.is_sound();
        sum = add(sum, post.account(&[&server], 1));
    }
    Ok(sum)
}

pub fn drop_folder_full(extent: Extent) -> Told {
    let mut sum = Tally::default();
    for number in 0..if extent.short { 2 } else { 8 } {
        let folder = tempfile::tempdir().unwrap();
        // Room runs out, or the number of files does.
        let options = if number % 2 == 0 { "size=4m" } else { "size=64m,nr_inodes=300" };
        let disk = Tmpfs::new(&folder.path().join("disk"), options)?;
        let drop_folder = disk.path().join("drop");
        let server = Server::on(&folder.path().join("a"), "a", &drop_folder, &folder.path().join("a/store"), "");
        server.lists();
        server.run();
        let (mut dice, mut post) = (Dice::new(40 + number), Post::default());
        let mut letters = 0_u32;
        loop {
            let to: &[&str] = if letters.is_multiple_of(5) { &["news", "nobody"] } else { &["news"] };
            let (name, bytes) = post.letter(&mut dice, to, 8000);
            // As long as names can be, so that a claim needs a file of its own beside it.
            let long = format!("{}{name}", "n".repeat(245));
            let hidden = server.drop.join(format!(".{number}"));
            if fs::write(&hidden, bytes).is_err() || fs::rename(&hidden, server.drop.join(&long)).is_err() {
                let _ = fs::remove_file(hidden);
                let names = &post.names;
                post.wanted.retain(|(_, id)| names[id] != name);
                break;
            }
            letters += 1;
            post.dropped += 1;
        }
        // And the rest of the room as well.
        fs::write(server.drop.join(".filler"), vec![0; 8 << 20]).unwrap_err();
        let full: Vec<_> = (0..1000).map(|at| server.drop.join(format!(".filler{at}"))).collect();
        let made = full.iter().take_while(|path| fs::write(path, "").is_ok()).count();
        let answer = server.ask(&["run", "--json"]);
        assert!(matches!(answer.code, Some(0 | 3)), "{answer:?}");
        let first = sheet(&answer.out);
        assert!(first.balanced && first.found > 0, "{first:?}");
        full[..made].iter().for_each(|path| fs::remove_file(path).unwrap());
        let _ = fs::remove_file(server.drop.join(".filler"));
        server.drain();
        server.is_sound();
        assert_eq!(server.names_in("refused").len() as u64, 2 * u64::from(letters).div_ceil(5));
        sum = add(sum, post.account(&[&server], 2));
    }
    Ok(sum)
}

pub fn drop_folder_becomes_read_only(extent: Extent) -> Told {
    let mut sum = Tally::default();
    for number in 0..if extent.short { 1 } else { 6 } {
        let folder = tempfile::tempdir().unwrap();
        let disk = Tmpfs::new(&folder.path().join("disk"), "size=200m")?;
        let drop_folder = disk.path().join("drop");
        let server = Server::on(&folder.path().join("a"), "a", &drop_folder, &folder.path().join("a/store"), "");
        server.lists();
        let (mut dice, mut post) = (Dice::new(80 + number), Post::default());
        fill(&mut post, &mut dice, &server.drop, 12 << 20, 3000);
        let all = server.waiting().len();
        let child = server.start(&["run", "--json"]);
        until("some mail is taken", || server.waiting().len() < all - 200);
        disk.remount("ro");
        let answer = end(child);
        // Most of the mail was not even claimed: that is an error of the folder, said once.
        if !server.waiting().is_empty() {
            assert_eq!(answer.code, Some(1), "{:?}", answer.err);
            assert!(answer.err.contains("Read-only file system"), "{}", answer.err);
        }
        assert!(sheet(&answer.out).balanced);
        server.ask(&["run"]).ends(1).says("Read-only file system");
        disk.remount("rw");
        server.drain();
        server.is_sound();
        sum = add(sum, post.account(&[&server], 1));
    }
    Ok(sum)
}

pub fn too_many_open_files(extent: Extent) -> Told {
    let mut sum = Tally::default();
    let limits: &[u32] = if extent.short { &[48, 128] } else { &[24, 32, 40, 48, 64, 80, 100, 128, 200, 256, 400] };
    for limit in limits {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::new(folder.path(), "a");
        server.lists();
        let (mut dice, mut post) = (Dice::new(u64::from(*limit)), Post::default());
        fill(&mut post, &mut dice, &server.drop, 1 << 20, 2000);
        let command = server.command(&["run", "--json"]);
        let mut shell = Command::new("sh");
        shell
            .arg("-c")
            .arg(format!("ulimit -n {limit}; exec \"$0\" \"$@\""))
            .arg(command.get_program())
            .args(command.get_args());
        let output = shell.output().unwrap();
        let (code, out) = (output.status.code(), String::from_utf8(output.stdout).unwrap());
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        // It cannot even open its store, or it does what it can, or all of it. It never blames the mail.
        assert!(matches!(code, Some(0 | 1 | 3)), "{limit}: {code:?} {err}");
        if let Some(line) = out.lines().last() {
            let sheet = sheet(line);
            assert!(sheet.balanced && sheet.damaged + sheet.refused == 0, "{limit}: {line}");
            assert!(*limit < 128 || sheet.left() == 0, "{limit}: {sheet:?} {err}");
        }
        server.drain();
        server.is_sound();
        sum = add(sum, post.account(&[&server], 1));
    }
    Ok(sum)
}

/// The limit counts the threads of a user, and root has none: somebody else runs the server.
pub fn too_many_threads(extent: Extent) -> Told {
    const USER: u32 = 54_321;
    if !crate::mount::is_root() {
        return Err(Cannot("not root".to_owned()));
    }
    let mut sum = Tally::default();
    let limits: &[u32] =
        if extent.short { &[1, 12, 60] } else { &[1, 2, 4, 6, 7, 8, 10, 12, 16, 20, 24, 28, 32, 36, 40, 60] };
    for limit in limits {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::new(folder.path(), "a");
        let (mut dice, mut post) = (Dice::new(u64::from(*limit)), Post::default());
        fill(&mut post, &mut dice, &server.drop, 1 << 20, 500);
        // The same number of threads on every machine.
        server.configure("[limits]\nworkers = 2");
        server.lists();
        let given = Command::new("chown").arg("-R").arg(USER.to_string()).arg(folder.path()).status();
        assert!(given.unwrap().success());
        let command = server.command(&["run", "--json"]);
        let mut other = Command::new("prlimit");
        other.arg(format!("--nproc={limit}:{limit}")).arg("setpriv");
        other.args(["--reuid=54321", "--regid=54321", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"]);
        other.arg(command.get_program()).args(command.get_args());
        let output = other.output().map_err(|error| Cannot(format!("prlimit: {error}")))?;
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        // All of it, or nothing and a sentence that says why. Never a panic, never an abort.
        match output.status.code() {
            Some(0) => {
                let sheet = sheet(String::from_utf8(output.stdout).unwrap().lines().last().unwrap());
                assert!(*limit >= 24 && sheet.balanced && sheet.left() == 0, "{limit}: {sheet:?} {err}");
            }
            code => {
                assert_eq!(code, Some(1), "{limit}: {err}");
                assert!(*limit < 60 && err.contains("threads cannot be started"), "{limit}: {err}");
            }
        }
        server.drain();
        server.is_sound();
        sum = add(sum, post.account(&[&server], 1));
    }
    Ok(sum)
}

pub fn drop_folder_renamed_away(extent: Extent) -> Told {
    let mut sum = Tally::default();
    for number in 0..if extent.short { 2 } else { 12 } {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::new(folder.path(), "a");
        server.lists();
        let (mut dice, mut post) = (Dice::new(30 + number), Post::default());
        fill(&mut post, &mut dice, &server.drop, 9 << 20, 3000);
        let all = server.waiting().len();
        let child = server.start(&["run", "--json"]);
        let taken = 1 + usize::try_from(dice.below(800)).unwrap();
        until("some mail is taken", || server.waiting().len() < all - taken);
        let away = server.folder.join("away");
        fs::rename(&server.drop, &away).unwrap();
        if number % 2 == 1 {
            // Another folder is where it was.
            fs::create_dir(&server.drop).unwrap();
        }
        let answer = end(child);
        if answer.code != Some(0) {
            assert_eq!(answer.code, Some(1), "{answer:?}");
            assert!(answer.err.contains("is not our claim folder any more"), "{}", answer.err);
        }
        assert!(sheet(&answer.out).balanced);
        if number % 2 == 1 {
            let _ = fs::remove_dir_all(&server.drop);
        }
        fs::rename(&away, &server.drop).unwrap();
        server.drain();
        server.is_sound();
        sum = add(sum, post.account(&[&server], 1));
    }
    Ok(sum)
}

/// Mails in one group, where it matters how many are written at once.
const GROUP: usize = 50;

pub fn store_folder_deleted(extent: Extent) -> Told {
    let mut sum = Tally::default();
    for number in 0..if extent.short { 2 } else { 12 } {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::new(folder.path(), "a");
        server.configure(&format!("[limits]\ngroup_mails = {GROUP}"));
        server.lists();
        let (mut dice, mut post) = (Dice::new(70 + number), Post::default());
        fill(&mut post, &mut dice, &server.drop, 9 << 20, 3000);
        let all = server.waiting().len();
        let child = server.start(&["run", "--json"]);
        until("some mail is taken", || server.waiting().len() < all - 300);
        let lost = server.own();
        // At once, as far as that can be: the folder goes away under its name, then its files do.
        let doomed = server.folder.join("doomed");
        fs::rename(&server.store, &doomed).unwrap();
        fs::remove_dir_all(&doomed).unwrap();
        let left_then = waiting_or_claimed(&server, &lost);
        let answer = end(child);
        let sheet = sheet(&answer.out);
        assert!(sheet.balanced, "{sheet:?}");
        // What was delivered into the store that was deleted went with it; not one mail more.
        let gone = usize::try_from(sheet.delivered).unwrap();
        // One group may have been committed before, and be settled after.
        assert!(
            gone <= all - left_then + GROUP,
            "{gone} delivered of {all}, {left_then} lay there when the store went"
        );
        if gone < all {
            assert_eq!(answer.code, Some(1), "{answer:?}");
            assert!(answer.err.contains("store"), "{}", answer.err);
        }
        fs::create_dir_all(&server.store).unwrap();
        server.lists();
        server.run();
        server.good(&["reclaim", "--server", lost.file_name().unwrap().to_str().unwrap(), "--store-lost"]);
        server.drain();
        server.is_sound();
        let mut there: std::collections::BTreeMap<String, u64> = std::collections::BTreeMap::new();
        for ((_, id), count) in server.items() {
            *there.entry(id).or_default() += count;
        }
        let doubled = there.values().filter(|count| **count != 2).count() as u64;
        let missing = (all - gone).saturating_sub(there.len()) as u64;
        sum = add(sum, Tally { runs: 1, mails: all as u64, lost: missing, doubled });
    }
    Ok(sum)
}

/// How many mails lie in the drop folder or among the claims. One that is claimed between the two looks is one.
fn waiting_or_claimed(server: &Server, own: &Path) -> usize {
    let waiting = server.waiting();
    let claims = fs::read_dir(own.join("claimed")).unwrap().map(|entry| entry.unwrap().file_name());
    // 17-3-NAME.claim
    let name = |claim: &str| claim.strip_suffix(".claim").and_then(|name| Some(name.splitn(3, '-').nth(2)?.to_owned()));
    let claimed = claims.filter_map(|claim| name(&claim.to_string_lossy()));
    waiting.len() + claimed.filter(|name| !waiting.contains(name)).count()
}

pub fn clocks_and_time_stamps_jump(_: Extent) -> Told {
    let mut sum = Tally::default();
    for writers in ["local", "remote"] {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::new(folder.path(), "a");
        server.configure(&format!("writers = \"{writers}\"\nsettle_time = \"300ms\""));
        server.lists();
        let (mut dice, mut post) = (Dice::new(60), Post::default());
        let now = SystemTime::now();
        let hour = Duration::from_hours(1);
        let times = [
            SystemTime::UNIX_EPOCH,
            now - hour * 24 * 365 * 30,
            now - hour,
            now,
            now + hour,
            now + hour * 24 * 365 * 60,
            // Before 1970, and further than 32 bits reach.
            SystemTime::UNIX_EPOCH - hour * 24 * 365,
            SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 33),
        ];
        for time in times.into_iter().cycle().take(40) {
            let name = post.drop_letter(&mut dice, &server.drop, &["news", "docs"], 300);
            let file = fs::File::options().write(true).open(server.drop.join(name)).unwrap();
            file.set_modified(time).unwrap();
        }
        let start = Instant::now();
        let runs = server.drain();
        assert!(start.elapsed() < Duration::from_secs(30), "a time stamp keeps a mail from being delivered");
        server.is_sound();
        sum = add(sum, post.account(&[&server], runs));
    }
    Ok(sum)
}
