//! Handlers that add to a list and never replace what it does: a command before and a command after an item is stored.
//! The command gets the item as JSON on standard input. No shell, bounded time, bounded output; a hook that fails loses no mail.

use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use super::{Mill, view};
use crate::directory::Directory;
use crate::model::list::{ItemId, List};
use crate::model::outcome::Reason;
use crate::model::plan::{Decided, Failure, Landed, Plan};

/// How a command says no: `EX_NOPERM` of sysexits.h. Every other code but 0 is a failure of the hook, and the mail is taken.
pub const REFUSE: i32 = 77;

/// So much of a hook's output is read; the first line of a refusal is its reason.
const OUTPUT: u64 = 64 << 10;

/// What a hook said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    Yes,
    No(String),
    /// It could not be run, took too long, or ended in another way.
    Failed(String),
}

impl Mill {
    /// Asks the before hooks of a plan's lists. A refused delivery becomes a failure of its recipients.
    pub(super) fn ask_before(&self, plan: &mut Plan, directory: &Directory) {
        let mut kept = Vec::with_capacity(plan.deliveries.len());
        for mut delivery in std::mem::take(&mut plan.deliveries) {
            let list = directory.list(delivery.list).filter(|list| !list.settings.before.is_empty());
            let (Some(list), Some(item)) = (list, &mut delivery.item) else {
                kept.push(delivery);
                continue;
            };
            let json = serde_json::to_vec(&view::item(list, None, item, None)).unwrap_or_default();
            match run(&list.settings.before, &list.name, &json, self.config.limits.hook_time) {
                Said::Yes => kept.push(delivery),
                Said::Failed(why) => {
                    tracing::warn!(list = %list.name, %why, "before hook failed; the mail is taken");
                    item.defects.push(format!("hook-failed: {why}"));
                    // Made of the item as it was, it would not say so.
                    delivery.prepared = None;
                    kept.push(delivery);
                }
                Said::No(why) => plan.failures.extend(delivery.recipients.into_iter().map(|recipient| Failure {
                    recipient: Some(recipient),
                    reason: Reason::HookRefused,
                    text: format!("list {}: {why}", list.name),
                })),
            }
        }
        plan.deliveries = kept;
        let named: std::collections::HashSet<_> = plan
            .deliveries
            .iter()
            .flat_map(|delivery| &delivery.item)
            .flat_map(|item| item.files())
            .map(|file| file.blob)
            .collect();
        plan.blobs.retain(|blob| named.contains(&blob.hash));
    }

    /// Whether any delivery of the plan has a before hook.
    pub(super) fn has_before(plan: &Plan, directory: &Directory) -> bool {
        plan.deliveries
            .iter()
            .any(|delivery| directory.list(delivery.list).is_some_and(|list| !list.settings.before.is_empty()))
    }

    /// What the after hooks are to be told of.
    pub(super) fn to_tell_after(&self, decided: &Decided) -> Vec<Landed> {
        let directory = self.directory.get();
        let has_after = |landed: &&Landed| {
            !landed.duplicate && directory.list(landed.list).is_some_and(|list| !list.settings.after.is_empty())
        };
        decided.landed.iter().filter(has_after).cloned().collect()
    }

    /// Runs the after hooks of what a mail became. Called when it is durable and before its file is settled: after a crash in
    /// between it is called again.
    pub(super) fn tell_after(&self, landed: &[Landed]) {
        for landed in landed {
            let directory = self.directory.get();
            let Some(list) = directory.list(landed.list) else { continue };
            if let Err(why) = self.tell_one(list, landed.item) {
                tracing::warn!(list = %list.name, item = landed.item.0, %why, "after hook failed; the item is stored all the same");
            }
        }
    }

    fn tell_one(&self, list: &List, id: ItemId) -> Result<(), String> {
        let item = self.store.item(list.id, id).map_err(|error| error.to_string())?;
        let Some(item) = item else { return Ok(()) };
        let thread = self.discussions(list).place(id).map_err(|error| error.to_string())?;
        let json = serde_json::to_vec(&view::item(list, Some(id), &item, thread)).map_err(|error| error.to_string())?;
        match run(&list.settings.after, &list.name, &json, self.config.limits.hook_time) {
            Said::Yes => Ok(()),
            Said::No(why) | Said::Failed(why) => Err(why),
        }
    }
}

/// Runs a command: program and arguments, as they stand.
pub fn run(command: &[String], list: &str, input: &[u8], limit: Duration) -> Said {
    let Some((program, arguments)) = command.split_first() else { return Said::Yes };
    let spawned = Command::new(program)
        .args(arguments)
        .env("MAILMILL_LIST", list)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        // A group of its own, so that what it starts can be ended with it.
        .process_group(0)
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => return Said::Failed(format!("{program}: {error}")),
    };
    let output = match feed(&mut child, input) {
        Ok(output) => output,
        Err(error) => {
            // It gets no time: without its input it would say what nobody asked.
            let _ = wait(&mut child, Duration::ZERO);
            return Said::Failed(format!("{program}: {error}"));
        }
    };
    let ended = wait(&mut child, limit);
    // What moved itself out of the group may hold our pipe open for ever: then the output is not waited for.
    let output = output.recv_timeout(Duration::from_secs(1)).unwrap_or_default();
    match ended {
        Err(why) => Said::Failed(format!("{program}: {why}")),
        Ok(Some(0)) => Said::Yes,
        Ok(Some(REFUSE)) => Said::No(first_line(&output)),
        Ok(Some(code)) => Said::Failed(format!("{program}: exit code {code}")),
        Ok(None) => Said::Failed(format!("{program}: ended by a signal")),
    }
}

/// Writes the input and reads the output beside the waiting; answers where the output will come.
fn feed(child: &mut Child, input: &[u8]) -> io::Result<mpsc::Receiver<Vec<u8>>> {
    let (to_us, output) = mpsc::channel();
    if let Some(mut stdin) = child.stdin.take() {
        let input = input.to_vec();
        // A hook that does not read its input is free to do so.
        std::thread::Builder::new().spawn(move || stdin.write_all(&input))?;
    }
    if let Some(stdout) = child.stdout.take() {
        std::thread::Builder::new().spawn(move || {
            let mut read = Vec::new();
            let _ = stdout.take(OUTPUT).read_to_end(&mut read);
            // Nobody waits any more when it took too long.
            let _ = to_us.send(read);
        })?;
    }
    Ok(output)
}

fn wait(child: &mut Child, limit: Duration) -> Result<Option<i32>, String> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or("has no process id")?;
    let watched = pidfd_open(pid, PidfdFlags::empty()).map_err(|errno| errno.to_string())?;
    let start = Instant::now();
    let ended = loop {
        let left = limit.saturating_sub(start.elapsed());
        let seconds = i64::try_from(left.as_secs()).unwrap_or(i64::MAX);
        let timeout = Timespec { tv_sec: seconds, tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::new(&watched, PollFlags::IN)], Some(&timeout)) {
            Ok(0) if start.elapsed() >= limit => {
                break Err(format!("took longer than {}", crate::model::units::format_duration(limit)));
            }
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => break Ok(()),
            Err(errno) => break Err(errno.to_string()),
        }
    };
    // What it started ends with it; before it is waited for, so that its number cannot be another's yet.
    end_group(child);
    let status = child.wait().map_err(|error| error.to_string())?;
    ended.map(|()| status.code())
}

fn end_group(child: &Child) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // Gone already where the hook ended well.
        let _ = kill_process_group(group, Signal::KILL);
    }
}

fn first_line(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let line: String = text.lines().next().unwrap_or_default().trim().chars().take(500).collect();
    if line.is_empty() { "refused by its hook".to_owned() } else { line }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(script: &str, limit_ms: u64) -> Said {
        let command = ["/bin/sh", "-c", script].map(str::to_owned);
        run(&command, "news", b"{\"title\":\"x\"}\n", Duration::from_millis(limit_ms))
    }

    #[test]
    fn exit_code_0_takes_77_refuses_with_the_first_line_and_all_else_is_a_failure() {
        assert_eq!(said("grep -q title", 5000), Said::Yes);
        assert_eq!(said("echo no thanks; echo more; exit 77", 5000), Said::No("no thanks".to_owned()));
        assert_eq!(said("exit 77", 5000), Said::No("refused by its hook".to_owned()));
        assert_eq!(said("exit 1", 5000), Said::Failed("/bin/sh: exit code 1".to_owned()));
        assert_eq!(said("kill -9 $$", 5000), Said::Failed("/bin/sh: ended by a signal".to_owned()));
        assert!(matches!(run(&["/nowhere".to_owned()], "x", b"", Duration::from_secs(1)), Said::Failed(_)));
        assert_eq!(said("test \"$MAILMILL_LIST\" = news", 5000), Said::Yes);
    }

    #[test]
    fn a_hook_that_hangs_floods_or_leaves_children_behind_is_ended() {
        let start = Instant::now();
        assert_eq!(said("sleep 60", 200), Said::Failed("/bin/sh: took longer than 200ms".to_owned()));
        assert_eq!(said("sleep 60 & exit 0", 5000), Said::Yes);
        assert!(matches!(said("yes", 300), Said::Failed(_)));
        assert!(start.elapsed() < Duration::from_secs(30));
    }
}
