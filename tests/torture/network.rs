//! Two servers on a network share that answers as NFS and SMB servers do: late, twice, stale and busy.

use std::fs;
use std::time::Duration;

use crate::mill::{Dice, Post, Server, end};
use crate::share::{Manners, Share, is_possible};
use crate::{Extent, Tally, Told};

/// Nothing of it is an error of the mail, and none of it may move a mail twice.
fn manners(round: u64) -> Manners {
    Manners {
        no_noreplace: round.is_multiple_of(2),
        done_and_gone: 7,
        stale: 23,
        busy: 19,
        unlink_io: 29,
        late: Duration::from_millis(30 * (round % 4)),
        coarse: true,
        cache: Duration::from_millis(500 * (round % 3)),
        quota: None,
        syncs: None,
        stalls: None,
    }
}

pub fn network_share_that_lies(extent: Extent) -> Told {
    is_possible()?;
    let mut sum = Tally::default();
    let start = std::time::Instant::now();
    let mut round = 0;
    while round < 2 || (!extent.short && start.elapsed() < extent.time) {
        let one = one_round(round)?;
        sum = Tally {
            runs: sum.runs + one.runs,
            mails: sum.mails + one.mails,
            lost: sum.lost + one.lost,
            doubled: sum.doubled + one.doubled,
        };
        round += 1;
    }
    Ok(sum)
}

fn one_round(round: u64) -> Told {
    let folder = tempfile::tempdir().unwrap();
    let real = folder.path().join("real");
    fs::create_dir_all(&real).unwrap();
    let mut shares = Vec::new();
    let mut servers = Vec::new();
    for name in ["a", "b"] {
        let own = folder.path().join(name);
        let seed = round * 2 + servers.len() as u64;
        let share = Share::mount(&real, &folder.path().join(format!("mount-{name}")), seed, Manners::default())?;
        let more = "writers = \"remote\"\nsettle_time = \"0ms\"";
        let server = Server::on(&own, name, share.path(), &own.join("store"), more);
        server.lists();
        server.run();
        shares.push(share);
        servers.push(server);
    }
    let (mut dice, mut post) = (Dice::new(100 + round), Post::default());
    for number in 0..250 {
        let to: &[&str] = match number % 25 {
            0 => &["nobody"],
            1 => &["news", "nobody"],
            _ => &["news", "docs"],
        };
        let size = if number % 50 == 7 { 700_000 } else { 1500 };
        post.drop_letter(&mut dice, &real, to, size);
    }
    for share in &shares {
        share.change(|now| *now = manners(round));
    }
    let mut runs = 0;
    for _ in 0..60 {
        let children: Vec<_> = servers.iter().map(|server| server.start(&["run", "--json"])).collect();
        let mut left = 0;
        for child in children {
            let answer = end(child);
            runs += 1;
            // The share may not even let it open its folders: then it says so and does nothing.
            assert!(matches!(answer.code, Some(0 | 1 | 3)), "{answer:?}");
            match answer.out.lines().last() {
                Some(line) => {
                    let sheet = crate::mill::sheet(line);
                    assert!(sheet.balanced && sheet.damaged == 0, "{sheet:?} {}", answer.err);
                    left += sheet.left();
                }
                None => left += 1,
            }
        }
        if left == 0 && fs::read_dir(&real).unwrap().count() == 1 {
            break;
        }
    }
    for share in &shares {
        share.change(|now| *now = Manners::default());
    }
    for server in &servers {
        server.drain();
        server.is_sound();
    }
    // Each file that nobody wanted is refused once, by one of the two.
    let refused: usize = servers.iter().map(|server| server.names_in("refused").len()).sum();
    assert_eq!(refused, 2 * 20);
    let all: Vec<_> = servers.iter().collect();
    let tally = post.account(&all, runs);
    drop(shares);
    Ok(tally)
}
