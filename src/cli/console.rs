//! Where a command's words go: to this terminal or pipe, or through the control socket to whoever asked.
//! Answers go to standard output, everything else to standard error. What comes from mail is escaped before people see it.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Color;
use super::exit::Exit;
use crate::engine::Progress;

pub struct Console {
    sink: Sink,
    quiet: bool,
    color: bool,
}

enum Sink {
    Local(BufWriter<Stdout>),
    Remote(BufWriter<UnixStream>),
    /// For another part of this process.
    Kept(Vec<u8>),
}

/// What a frame on the control socket carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    Output,
    Note,
    Exit,
}

impl Frame {
    pub const fn tag(self) -> u8 {
        match self {
            Self::Output => b'o',
            Self::Note => b'e',
            Self::Exit => b'x',
        }
    }

    pub fn from_tag(tag: u8) -> Option<Self> {
        [Self::Output, Self::Note, Self::Exit].into_iter().find(|frame| frame.tag() == tag)
    }
}

/// One frame: tag:1 length:4 (big-endian) bytes.
pub fn write_frame(to: &mut impl Write, frame: Frame, bytes: &[u8]) -> io::Result<()> {
    for chunk in bytes.chunks(1 << 20) {
        let length = u32::try_from(chunk.len()).unwrap_or_default();
        to.write_all(&[frame.tag()])?;
        to.write_all(&length.to_be_bytes())?;
        to.write_all(chunk)?;
    }
    Ok(())
}

impl Console {
    pub fn local(quiet: bool, color: Color) -> Self {
        Self { sink: Sink::Local(BufWriter::with_capacity(64 << 10, io::stdout())), quiet, color: wants_color(color) }
    }

    pub fn remote(stream: UnixStream) -> Self {
        Self { sink: Sink::Remote(BufWriter::with_capacity(64 << 10, stream)), quiet: false, color: false }
    }

    /// An answer that this process itself reads.
    pub const fn kept() -> Self {
        Self { sink: Sink::Kept(Vec::new()), quiet: true, color: false }
    }

    pub fn into_kept(self) -> Vec<u8> {
        if let Sink::Kept(bytes) = self.sink { bytes } else { Vec::new() }
    }

    /// Bytes of the answer, as they are.
    pub fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.sink {
            Sink::Local(stdout) => stdout.write_all(bytes),
            Sink::Remote(stream) => write_frame(stream, Frame::Output, bytes),
            Sink::Kept(kept) => {
                kept.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    /// One line of the answer. Whatever it is made of, no terminal obeys it.
    pub fn line(&mut self, text: &str) -> io::Result<()> {
        self.bytes(format!("{}\n", tame(text)).as_bytes())
    }

    /// One JSON object on a line. Characters that a terminal may obey are written by number, which is the same JSON (RFC 8259 section 7).
    pub fn json(&mut self, value: &impl serde::Serialize) -> io::Result<()> {
        let mut line = in_ascii_where_hidden(serde_json::to_string(value)?);
        line.push('\n');
        self.bytes(line.as_bytes())
    }

    /// A line for people, on standard error.
    pub fn note(&mut self, text: &str) -> io::Result<()> {
        if self.quiet {
            return Ok(());
        }
        self.raw_note(&format!("{}\n", tame(text)))
    }

    fn raw_note(&mut self, text: &str) -> io::Result<()> {
        self.flush()?;
        match &mut self.sink {
            Sink::Local(_) | Sink::Kept(_) => io::stderr().write_all(text.as_bytes()),
            Sink::Remote(stream) => write_frame(stream, Frame::Note, text.as_bytes()),
        }
    }

    /// The one line that says why a command failed. It is said even in quiet mode, and cannot itself fail.
    pub fn error(&mut self, text: &str) {
        let (on, off) = if self.color { ("\x1b[1;31m", "\x1b[0m") } else { ("", "") };
        let _ = self.raw_note(&format!("{on}mailmill:{off} {}\n", tame(text)));
    }

    /// Somebody looks at standard error right now.
    pub fn is_watched(&self) -> bool {
        matches!(self.sink, Sink::Local(_)) && !self.quiet && io::stderr().is_terminal()
    }

    pub fn flush(&mut self) -> io::Result<()> {
        match &mut self.sink {
            Sink::Local(stdout) => stdout.flush(),
            Sink::Remote(stream) => stream.flush(),
            Sink::Kept(_) => Ok(()),
        }
    }

    /// The last frame of an answer.
    pub fn finish(&mut self, exit: Exit) -> io::Result<()> {
        if let Sink::Remote(stream) = &mut self.sink {
            write_frame(stream, Frame::Exit, &[exit as u8])?;
        }
        self.flush()
    }

    /// Draws how far a batch has come until the answer is dropped; nothing unless somebody watches.
    pub fn draw(&self, progress: &Arc<Progress>, total_bytes: Option<u64>) -> Drawing {
        let over = Arc::new(AtomicBool::new(false));
        if !self.is_watched() {
            return Drawing { over, thread: None };
        }
        let (progress, stop) = (Arc::clone(progress), Arc::clone(&over));
        // Without a thread there is no bar.
        let thread = super::background::start("bar", move || draw_until(&stop, &progress, total_bytes)).ok();
        Drawing { over, thread }
    }
}

/// A bar being drawn on the terminal. Dropping it takes it away.
pub struct Drawing {
    over: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Drawing {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It only draws; should it have failed, there is nothing to save.
            let _ = thread.join();
        }
    }
}

fn draw_until(over: &AtomicBool, progress: &Progress, total_bytes: Option<u64>) {
    let bar = ProgressBar::with_draw_target(total_bytes, ProgressDrawTarget::stderr());
    let template = match total_bytes {
        Some(_) => "{bar:30} {percent:>3} %  {msg}  {elapsed} (left {eta})",
        None => "{spinner} {msg}  {elapsed}",
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let (mut last, mut shown) = (0, std::time::Instant::now());
    while !over.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(100));
        let (found, ended) = (read(&progress.found), read(&progress.ended));
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // for people
        let rate = ((ended - last) as f64 / shown.elapsed().as_secs_f64()) as u64;
        (last, shown) = (ended, std::time::Instant::now());
        let bytes = crate::model::units::about(read(&progress.bytes));
        bar.set_message(format!("{found} found, {ended} done, {bytes}, {rate}/s"));
        bar.set_position(read(&progress.consumed));
        bar.tick();
    }
    bar.finish_and_clear();
}

pub fn wants_color(color: Color) -> bool {
    match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
    }
}

/// Text from mail as it may be shown: control characters, escape sequences and bidi overrides become visible.
pub fn plain(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hidden(c) {
            // Writing to a string cannot fail.
            let _ = write!(shown, "{}", c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// A character that a reader does not see, or that does something to what he sees.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}'
            | '\u{e0000}'..='\u{e007f}')
}

/// The last look at a line before a terminal gets it, should somebody have forgotten [`plain`]: of what is hidden only line ends and
/// tabs remain, and joiners, which some languages are written with.
fn tame(text: &str) -> Cow<'_, str> {
    let is_wild = |c: char| is_hidden(c) && !matches!(c, '\n' | '\t' | '\u{200c}' | '\u{200d}');
    if !text.contains(is_wild) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_wild(c) {
            let _ = write!(shown, "{}", c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// In JSON hidden characters stand within strings only: controls below space are escaped already, the others are here.
fn in_ascii_where_hidden(json: String) -> String {
    if !json.contains(is_hidden) {
        return json;
    }
    let mut escaped = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if is_hidden(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        } else {
            escaped.push(c);
        }
    }
    escaped
}

/// At most so many characters, for a column.
pub fn column(text: &str, width: usize) -> String {
    let shown = plain(text);
    if shown.chars().count() <= width {
        return shown;
    }
    let kept: String = shown.chars().take(width.saturating_sub(1)).collect();
    format!("{kept}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_and_bidi_overrides_from_mail_are_made_visible() {
        assert_eq!(plain("a\x1b[31mb\r\n\u{202e}c"), "a\\u{1b}[31mb\\u{d}\\u{a}\\u{202e}c");
        assert_eq!(plain("Grüße 你好"), "Grüße 你好");
    }

    #[test]
    fn json_says_the_same_and_holds_nothing_that_a_terminal_obeys() {
        let text = "a\u{1b}[31m\u{9b}31m\u{7f}\u{202e}\u{feff}\u{e0041}\u{2028}\"\\ü你👩\u{200d}👩";
        let json = in_ascii_where_hidden(serde_json::to_string(text).unwrap());
        assert!(!json.contains(is_hidden), "{json}");
        assert!(json.contains("ü你👩"));
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_the_same_text_in_json(text in "[\\x00-\\x20\\x7f-\\u{9f}\u{200b}-\u{206f}\u{feff}\u{e0000}-\u{e007f}a\"\\\\ü]{0,30}") {
            let json = in_ascii_where_hidden(serde_json::to_string(&text).unwrap());
            proptest::prop_assert!(!json.contains(is_hidden));
            proptest::prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text.clone());
            let obeyed = tame(&text).contains(['\u{1b}', '\u{9b}', '\u{202e}', '\r', '\u{8}']);
            proptest::prop_assert!(!obeyed);
        }
    }

    #[test]
    fn a_line_that_somebody_forgot_to_escape_is_tame() {
        assert_eq!(tame("a\x1b]0;x\x07\tb\nc\u{202e}"), "a\\u{1b}]0;x\\u{7}\tb\nc\\u{202e}");
        assert_eq!(tame("plain ü"), "plain ü");
    }

    #[test]
    fn columns_are_cut_with_a_mark() {
        assert_eq!(column("abcdef", 4), "abc…");
        assert_eq!(column("abcd", 4), "abcd");
    }

    #[test]
    fn a_frame_is_a_tag_a_length_and_bytes() {
        let mut wire = Vec::new();
        write_frame(&mut wire, Frame::Note, b"hi").unwrap();
        assert_eq!(wire, b"e\0\0\0\x02hi");
    }
}
