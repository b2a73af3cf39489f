//! The process is killed while mail comes in: what was answered 250 is in a list, once. The long run is a scenario of
//! tests/torture.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::client::*;
use crate::common::*;
use crate::load::Load;

#[test]
fn what_was_answered_250_is_in_the_list_once_although_the_service_was_killed() {
    let post = Post::new();
    let load = Load::start(&post.address, 6, 500);
    for round in 0..5 {
        let serve = Running::spawn(post.server.command(&["serve", "--every", "1h"]));
        post.wait();
        let before = load.accepted();
        until("mail comes in", SOON, || load.accepted() > before + 20);
        // Not always at the same moment of a group.
        std::thread::sleep(Duration::from_millis(7 * round));
        serve.kill();
    }
    let serve = post.serve();
    let accepted = load.end();
    until("all is settled", SOON, || post.server.waiting().is_empty() && post.server.own("claimed").is_empty());
    serve.term();
    assert_eq!(serve.wait(), 0);
    post.server.ask(&["run"]).ends(0);
    let mut times: BTreeMap<String, u32> = BTreeMap::new();
    for title in post.server.titles("news") {
        *times.entry(title).or_default() += 1;
    }
    let lost: Vec<_> = accepted.iter().filter(|title| !times.contains_key(*title)).collect();
    let doubled: Vec<_> = times.iter().filter(|(_, count)| **count > 1).collect();
    assert!(accepted.len() > 100 && lost.is_empty() && doubled.is_empty(), "lost {lost:?}, doubled {doubled:?}");
    assert!(post.server.failed().is_empty(), "nothing half-written was ever found");
    assert_eq!(post.server.own("tmp").iter().filter(|name| name.ends_with(".tmp")).count(), 0, "leftovers are removed");
    post.server.is_settled();
}
