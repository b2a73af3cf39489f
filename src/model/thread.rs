//! Which mails of a discussion board belong together, and in which order a discussion is read.
//! Looks at what the mails say in their own headers and never at the order in which they came, so a reply that arrives before
//! its parent needs no special case. Knows nothing of lists: whoever stores the keys keeps every list's apart.
//!
//! A discussion is a connected component of [`related`], a symmetric relation of two mails. A store that files each mail
//! under its [`Facts::keys`] and its [`Facts::topic_range`], and joins the discussions that a new mail finds there, has the
//! same discussions after any order of arrival. Nothing about parents is stored: [`tree`] works them out from the members.

use std::collections::{BTreeSet, HashMap};
use std::iter;
use std::ops::RangeInclusive;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use minicbor::{Decode, Encode};

use super::list::ItemId;
use super::mail::MailId;
use super::names;

/// The most ancestors that are kept of a mail: the nearest 63, which say where it hangs, and the first of all, which says
/// what it belongs to. Mail clients cut long References in the same way (RFC 5537 section 3.4.4 tells news clients to).
pub const MAX_REFS: usize = 64;

/// MS-OXOMSG section 2.2.1.3: a reserved byte, 5 bytes of time and 16 bytes of GUID, the same in the whole conversation.
const INDEX_HEADER: usize = 22;

/// Every reply appends a block of this size to the index of the mail that it answers (MS-OXOMSG section 2.2.1.3).
const INDEX_LEVEL: usize = 5;

/// Replies below this depth hang where their ancestor of this depth hangs.
const MAX_LEVELS: usize = 64;

const MAX_INDEX: usize = INDEX_HEADER + MAX_LEVELS * INDEX_LEVEL;

/// What is read of a Thread-Index field. A multiple of 4, so that a cut one is still base64.
const MAX_INDEX_TEXT: usize = MAX_INDEX.div_ceil(3) * 4;

/// Padding is often lost when the field is folded or copied, and says nothing.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// What of a mail's header decides about its discussion, decoded and unfolded.
#[derive(Clone, Copy, Debug, Default)]
pub struct Header<'h> {
    pub message_id: Option<&'h str>,
    /// One message id. A field that is there with nothing usable in it is `Some("")`: it still says that the mail is a reply.
    pub in_reply_to: Option<&'h str>,
    /// One message id each, oldest ancestor first, as in the field (RFC 5322 section 3.6.4).
    pub references: &'h [String],
    /// As it stands in the header, in base64 (MS-OXCMAIL: Thread-Index carries the conversation index).
    pub thread_index: Option<&'h str>,
    pub thread_topic: Option<&'h str>,
    pub subject: Option<&'h str>,
    /// Seconds since 1970, UTC.
    pub date: Option<i64>,
}

/// What is stored of a member of a discussion. Everything but `item` follows from the mail alone.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Facts {
    #[n(0)]
    pub item: ItemId,
    /// The Date field, else when the mail was received; seconds since 1970, UTC.
    #[n(1)]
    pub time: i64,
    /// The Message-ID.
    #[n(2)]
    pub own: Option<Key>,
    /// In-Reply-To and References, nearest ancestor first, none twice, at most [`MAX_REFS`].
    #[n(3)]
    pub refs: Vec<Key>,
    #[n(4)]
    pub index: Option<ConversationIndex>,
    /// The normalised Thread-Topic, else subject; none when that is empty, since empty topics never match.
    #[n(5)]
    pub topic: Option<Key>,
    /// Says that it is a reply and has nothing but its topic to say to what.
    #[n(6)]
    pub by_topic: bool,
    /// Makes the order of mails with the same time the same everywhere.
    #[n(7)]
    pub tie: MailId,
}

impl Facts {
    /// `received` in seconds since 1970, UTC, stands in for a missing Date.
    pub fn of(item: ItemId, tie: MailId, header: &Header<'_>, received: i64) -> Self {
        let own = header.message_id.and_then(Key::of_id);
        let refs = ancestors(header, own);
        let index = header.thread_index.and_then(ConversationIndex::read);
        let (subject, answers) = topic_of(header.subject.unwrap_or_default());
        let topic = header.thread_topic.map(|topic| topic_of(topic).0).filter(|topic| !topic.is_empty());
        let topic = Key::of_topic(&topic.unwrap_or(subject));
        let says_reply = answers || header.in_reply_to.is_some() || !header.references.is_empty();
        let by_topic = says_reply && refs.is_empty() && index.is_none() && topic.is_some();
        Self { item, time: header.date.unwrap_or(received), own, refs, index, topic, by_topic, tie }
    }

    /// Two mails with one of these in common belong together. A key is a message id, held or only referred to, or the part
    /// of the conversation index that all mails of a conversation share.
    pub fn keys(&self) -> impl Iterator<Item = Key> {
        let ids = self.own.iter().chain(&self.refs).copied();
        ids.chain(self.index.as_ref().map(ConversationIndex::conversation))
    }

    /// The topic and the times in which mails of the same topic may belong to this one; [`related`] then says which do.
    pub fn topic_range(&self, window_secs: u64) -> Option<(Key, RangeInclusive<i64>)> {
        let earliest = self.time.saturating_sub_unsigned(window_secs);
        let latest = self.time.saturating_add_unsigned(window_secs);
        Some((self.topic?, earliest..=latest))
    }

    /// By time; in the same second a mail that names fewer ancestors comes first.
    fn rank(&self) -> (i64, usize, usize, &MailId, ItemId) {
        let levels = self.index.as_ref().map_or(0, |index| index.0.len());
        (self.time, self.refs.len(), levels, &self.tie, self.item)
    }
}

/// Whether two mails of one list belong to the same discussion by what they say themselves: they share a key, or they share a
/// topic, their dates are at most `window_secs` apart, and at least one of them has only its topic to go by.
///
/// Symmetric. That both merely refer to the same mail is enough, because that mail may come later or never.
pub fn related(a: &Facts, b: &Facts, window_secs: u64) -> bool {
    let share_key = a.keys().any(|key| b.keys().any(|other| other == key));
    let share_topic = a.topic.is_some() && a.topic == b.topic && (a.by_topic || b.by_topic);
    share_key || (share_topic && a.time.abs_diff(b.time) <= window_secs)
}

/// The first 16 bytes of a BLAKE3 hash. Ids, conversations and topics are hashed apart, so that none can pass for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key([u8; 16]);

impl Key {
    /// Of a message id, with or without its angle brackets; none where the text cannot name one mail among all.
    ///
    /// RFC 5322 section 3.6.4 wants an `@` with something on both sides. Devices and gateways leave it out, and then a long
    /// word with a digit in it passes. `0`, `null` and `undefined`, which broken senders write, would join strangers.
    /// Compared byte for byte: case matters in an id.
    pub fn of_id(id: &str) -> Option<Self> {
        const MIN_WITHOUT_AT: usize = 16;
        let id = id.trim().trim_matches(['<', '>']).trim();
        let plausible = match id.rsplit_once('@') {
            Some((left, right)) => !left.is_empty() && !right.is_empty(),
            None => id.len() >= MIN_WITHOUT_AT && id.bytes().any(|byte| byte.is_ascii_digit()),
        };
        plausible.then(|| Self::finish(blake3::Hasher::new().update(id.as_bytes())))
    }

    fn of_topic(topic: &str) -> Option<Self> {
        (!topic.is_empty()).then(|| Self::derive("mailmill discussion topic", topic.as_bytes()))
    }

    fn derive(context: &str, bytes: &[u8]) -> Self {
        Self::finish(blake3::Hasher::new_derive_key(context).update(bytes))
    }

    fn finish(hasher: &blake3::Hasher) -> Self {
        let mut key = [0; 16];
        hasher.finalize_xof().fill(&mut key);
        Self(key)
    }

    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl<C> Encode<C> for Key {
    fn encode<W: minicbor::encode::Write>(
        &self,
        encoder: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        encoder.bytes(&self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Key {
    fn decode(decoder: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        decoder.bytes()?.try_into().map(Self).map_err(|_| minicbor::decode::Error::message("a key has 16 bytes"))
    }
}

/// A conversation index (MS-OXOMSG section 2.2.1.3): 22 bytes that name the conversation and 5 more for every reply down to
/// this mail, so that the index of an ancestor is a prefix of it. Always 22 + 5 n bytes, n at most 64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConversationIndex(Vec<u8>);

impl ConversationIndex {
    /// Of a Thread-Index field; none where that is not base64 or not a conversation index.
    pub fn read(field: &str) -> Option<Self> {
        let text: Vec<u8> = field.bytes().filter(|byte| !byte.is_ascii_whitespace()).take(MAX_INDEX_TEXT).collect();
        Self::from_bytes(LENIENT.decode(text).ok()?)
    }

    /// At least 22 bytes, the first of them 1: the test that MS-OXOMSG section 2.2.1.2 sets before the GUID may be trusted.
    /// A block that is cut short at the end names no reply and is dropped.
    fn from_bytes(mut bytes: Vec<u8>) -> Option<Self> {
        let levels = bytes.len().checked_sub(INDEX_HEADER)? / INDEX_LEVEL;
        bytes.truncate(INDEX_HEADER + levels.min(MAX_LEVELS) * INDEX_LEVEL);
        (bytes.first() == Some(&1)).then_some(Self(bytes))
    }

    fn conversation(&self) -> Key {
        let header = self.0.get(..INDEX_HEADER).unwrap_or(&self.0);
        Key::derive("mailmill discussion conversation index", header)
    }
}

impl<C> Encode<C> for ConversationIndex {
    fn encode<W: minicbor::encode::Write>(
        &self,
        encoder: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        encoder.bytes(&self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for ConversationIndex {
    fn decode(decoder: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let bytes = decoder.bytes()?.to_vec();
        Self::from_bytes(bytes).ok_or_else(|| minicbor::decode::Error::message("not a conversation index"))
    }
}

/// In-Reply-To, then References from the last to the first, without the mail's own id.
fn ancestors(header: &Header<'_>, own: Option<Key>) -> Vec<Key> {
    let usable = |id: &String| Key::of_id(id).filter(|key| Some(*key) != own);
    let nearest_first = header.references.iter().rev().filter_map(usable);
    let parent = header.in_reply_to.and_then(Key::of_id).filter(|key| Some(*key) != own);
    let mut refs: Vec<Key> = Vec::new();
    for key in parent.into_iter().chain(nearest_first) {
        if !refs.contains(&key) {
            refs.push(key);
        }
        if refs.len() == MAX_REFS {
            break;
        }
    }
    // Only a full list can have missed the first.
    if refs.len() == MAX_REFS
        && let Some(first) = header.references.iter().find_map(usable)
        && !refs.contains(&first)
    {
        refs.pop();
        refs.push(first);
    }
    refs
}

/// Where a mail stands in its discussion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub item: ItemId,
    /// None for the root alone.
    pub parent: Option<ItemId>,
    /// 0 for the root.
    pub depth: u32,
}

/// The position in the order of time; the root is at 0.
type Rank = usize;

const ROOT: Rank = 0;

/// The discussion as a tree, in reading order: a mail before its answers, answers of one mail by time.
///
/// A function of the set of members, whose items are distinct; their order does not matter. The root is the earliest by time,
/// then by how few ancestors it names, then by mail id, whatever it refers to: if a fast or slow clock makes a reply the earliest, it is the root and the
/// mail that it answers hangs below it. Any other mail hangs under the first of these that is a member:
///
/// 1. the nearest ancestor that it names, In-Reply-To before References;
/// 2. the mail whose conversation index is the longest proper prefix of its own;
/// 3. when it has only its topic: the latest earlier mail of that topic;
/// 4. the root.
///
/// A reply that is dated before its parent hangs under it all the same. A ring of mails that name each other is cut at the
/// earliest of them, and what was cut off looks further down the list. Weaker evidence never keeps stronger from being heard:
/// every mail is asked for 1 before any is asked for 2. Time n log n, no recursion.
pub fn tree(members: &[Facts]) -> Vec<Place> {
    let mut order: Vec<&Facts> = members.iter().collect();
    order.sort_unstable_by(|a, b| a.rank().cmp(&b.rank()));
    let mut forest = Forest::new(order.len());
    hang_by_reference(&order, &mut forest);
    hang_by_index(&order, &mut forest);
    hang_by_topic(&order, &mut forest);
    for child in 0..order.len() {
        forest.hang(child, ROOT);
    }
    forest.places(&order)
}

fn hang_by_reference(order: &[&Facts], forest: &mut Forest) {
    // Backwards, so that of two mails with the same id the earlier one stays in the map.
    let backwards = order.iter().enumerate().rev();
    let by_id: HashMap<Key, Rank> = backwards.filter_map(|(rank, facts)| Some((facts.own?, rank))).collect();
    forest.hang_latest_first(|child| {
        let refs = order.get(child).map(|facts| facts.refs.as_slice()).unwrap_or_default();
        refs.iter().filter_map(|key| by_id.get(key).copied())
    });
}

/// Sorted, a prefix stands right before everything that it is a prefix of, so the open prefixes form a stack.
fn hang_by_index(order: &[&Facts], forest: &mut Forest) {
    let indexed = order.iter().enumerate().filter_map(|(rank, facts)| Some((facts.index.as_ref()?.0.as_slice(), rank)));
    let mut sorted: Vec<(&[u8], Rank)> = indexed.collect();
    sorted.sort_unstable();
    let mut above: Vec<Option<Rank>> = vec![None; order.len()];
    let mut open: Vec<(&[u8], Rank)> = Vec::new();
    for (index, rank) in sorted {
        while open.last().is_some_and(|(prefix, _)| !index.starts_with(prefix)) {
            open.pop();
        }
        // Of two mails with the same index the earlier one is open, and both hang under what is below it.
        let twin = open.last().filter(|(prefix, _)| *prefix == index).map(|&(_, twin)| twin);
        let parent = match twin {
            Some(twin) => above.get(twin).copied().flatten(),
            None => open.last().map(|&(_, parent)| parent),
        };
        if let Some(above) = above.get_mut(rank) {
            *above = parent;
        }
        if twin.is_none() {
            open.push((index, rank));
        }
    }
    let up = |rank: &Rank| above.get(*rank).copied().flatten();
    forest.hang_latest_first(|child| iter::successors(up(&child), up));
}

fn hang_by_topic(order: &[&Facts], forest: &mut Forest) {
    let mut latest: HashMap<Key, Rank> = HashMap::new();
    let mut before: Vec<Option<Rank>> = Vec::with_capacity(order.len());
    for (rank, facts) in order.iter().enumerate() {
        let previous = facts.topic.and_then(|topic| latest.insert(topic, rank));
        before.push(previous.filter(|_| facts.by_topic));
    }
    forest.hang_latest_first(|child| before.get(child).copied().flatten());
}

/// Trees that grow together. Until the end every mail without a parent is the top of a tree of its own.
struct Forest {
    above: Vec<Option<Rank>>,
    /// A way up that gets shorter with use (union-find with path halving): asking for the top of a deep tree is cheap.
    leads: Vec<Rank>,
}

impl Forest {
    fn new(size: usize) -> Self {
        Self { above: vec![None; size], leads: (0..size).collect() }
    }

    /// Gives each mail that has no parent yet the first candidate that is not below it. Latest first, so that in a ring the
    /// earliest is the one that finds the way up closed.
    fn hang_latest_first<C: IntoIterator<Item = Rank>>(&mut self, candidates: impl Fn(Rank) -> C) {
        for child in (0..self.above.len()).rev() {
            if self.is_loose(child) {
                candidates(child).into_iter().any(|parent| self.hang(child, parent));
            }
        }
    }

    fn is_loose(&self, child: Rank) -> bool {
        child != ROOT && self.above.get(child).is_some_and(Option::is_none)
    }

    fn hang(&mut self, child: Rank, parent: Rank) -> bool {
        let top = self.top(parent);
        if !self.is_loose(child) || top == child {
            return false;
        }
        if let (Some(above), Some(lead)) = (self.above.get_mut(child), self.leads.get_mut(child)) {
            *above = Some(parent);
            *lead = top;
        }
        true
    }

    fn top(&mut self, mut rank: Rank) -> Rank {
        loop {
            let next = self.leads.get(rank).copied().unwrap_or(rank);
            if next == rank {
                return rank;
            }
            let after = self.leads.get(next).copied().unwrap_or(next);
            if let Some(lead) = self.leads.get_mut(rank) {
                *lead = after;
            }
            rank = after;
        }
    }

    fn places(&self, order: &[&Facts]) -> Vec<Place> {
        let mut first: Vec<Option<Rank>> = vec![None; order.len()];
        let mut next = first.clone();
        // Backwards, so that the answers of a mail stand in the order of time.
        for (child, parent) in self.above.iter().enumerate().rev() {
            let answers = parent.and_then(|parent| first.get_mut(parent));
            if let (Some(answers), Some(next)) = (answers, next.get_mut(child)) {
                *next = answers.replace(child);
            }
        }
        let item = |rank: Rank| order.get(rank).map(|facts| facts.item);
        let mut places = Vec::with_capacity(order.len());
        let mut to_visit = vec![(ROOT, 0)];
        while let Some((rank, depth)) = to_visit.pop() {
            let Some(found) = item(rank) else { continue };
            let parent = self.above.get(rank).copied().flatten().and_then(item);
            places.push(Place { item: found, parent, depth });
            to_visit.extend(next.get(rank).copied().flatten().map(|sibling| (sibling, depth)));
            to_visit.extend(first.get(rank).copied().flatten().map(|child| (child, depth.saturating_add(1))));
        }
        places
    }
}

/// What mail clients put before a subject: for replies, for forwarded mail. Folded, by language.
///
/// `vs` is a reply in Finnish and Estonian and a forward in Danish and Norwegian. It stands among the replies because that
/// errs on the cheap side: a Danish forward then joins the discussion that it came from.
const MARKERS: &[(&[&str], &[&str])] = &[
    (&["re"], &["fw", "fwd"]),               // English, and most clients whatever their language
    (&["aw", "antwort"], &["wg"]),           // German
    (&["ré", "rép", "réf", "ref"], &["tr"]), // French
    (&["antw", "antwoord"], &["doorst"]),    // Dutch
    (&["r", "rif"], &["i"]),                 // Italian
    (&["res", "resp"], &["enc", "rv"]),      // Portuguese, Spanish
    (&["sv", "svar"], &["vb", "fs"]),        // Danish, Norwegian, Swedish, Icelandic
    (&["vs"], &["vl"]),                      // Finnish, Estonian
    (&["odp"], &["pd"]),                     // Polish, Czech, Slovak
    (&["odg"], &[]),                         // Croatian, Serbian, Slovene
    (&["vá"], &["továbbítás"]),              // Hungarian
    (&["ynt"], &["ilt", "i\u{307}lt"]),      // Turkish, whose capital I may have a dot
    (&["ats", "atb"], &["yml"]),             // Lithuanian, Latvian, Welsh
    (&["bls"], &["trs"]),                    // Indonesian
    (&["απ", "σχετ"], &["πρθ"]),             // Greek
    (&["отв", "ответ"], &["пересл", "переслать"]), // Russian
    (&["תגובה", "השב"], &["הועבר"]),         // Hebrew
    (&["رد"], &["إعادة توجيه"]),             // Arabic
    (&["回复", "答复", "回覆", "答覆"], &["转发", "轉寄", "轉發"]), // Chinese
    (&["返信"], &["転送"]),                  // Japanese
    (&["회신", "답장"], &["전달"]),          // Korean
];

/// A marker with its counter is shorter than this, in characters. Looking no further for its colon keeps a subject that
/// somebody filled with tags or trailers from costing the square of its length.
const MAX_MARKER: usize = 32;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Marker {
    Reply,
    Forward,
}

/// The subject without what clients and lists add to it, in a form where equal topics are equal strings, and whether it says
/// that the mail is a reply. May be empty.
///
/// The base subject of RFC 5256 section 2.1, with these differences:
///
/// * The RFC knows `re`, `fw` and `fwd`; here many languages count, with counters (`Re[2]:`, `Re(2):`, `Re^2:`, `Re2:`), a dot
///   (`Réf.:`) and the wide colon of East Asian input methods.
/// * To the RFC a forward is as good as a reply. Here the outermost marker decides, and a forward is none.
/// * The RFC drops every `[tag]` in front. Here a tag with a digit in it stays, put before the rest and in one order: the
///   label of a list or gateway (`[External]`) says nothing about the topic, the number of a ticket or patch does.
/// * Case is folded and composed as for file names, not by i;unicode-casemap (RFC 5051), and what cannot be seen is dropped.
pub fn topic_of(subject: &str) -> (String, bool) {
    let folded = fold(subject);
    let mut rest = folded.trim();
    let mut tags = BTreeSet::new();
    let mut outermost = None;
    loop {
        let (marker, after) = if let Some((marker, after)) = split_marker(rest) {
            (Some(marker), after)
        } else if let Some(after) = unwrap_forward(rest) {
            (Some(Marker::Forward), after)
        } else if let Some((tag, after)) = split_tag(rest) {
            if tag.contains(char::is_numeric) {
                tags.insert(tag);
            }
            (None, after)
        } else {
            break;
        };
        outermost = outermost.or(marker);
        rest = after.trim();
    }
    let words: Vec<&str> = tags.into_iter().chain([rest]).filter(|word| !word.is_empty()).collect();
    (words.join(" "), outermost == Some(Marker::Reply))
}

fn fold(subject: &str) -> String {
    let mut spaced = String::with_capacity(subject.len());
    for c in subject.chars().filter(|c| !is_unseen(*c)) {
        let c = if c.is_whitespace() { ' ' } else { c };
        if c != ' ' || !spaced.ends_with(' ') {
            spaced.push(c);
        }
    }
    names::fold(&spaced)
}

/// Control characters, soft hyphens, joiners, marks of direction, variation selectors: some clients add them, others lose them.
fn is_unseen(c: char) -> bool {
    const UNSEEN: [RangeInclusive<char>; 8] = [
        '\u{ad}'..='\u{ad}',
        '\u{61c}'..='\u{61c}',
        '\u{180e}'..='\u{180e}',
        '\u{200b}'..='\u{200f}',
        '\u{202a}'..='\u{202e}',
        '\u{2060}'..='\u{206f}',
        '\u{fe00}'..='\u{fe0f}',
        '\u{feff}'..='\u{feff}',
    ];
    (c.is_control() && !c.is_whitespace()) || UNSEEN.iter().any(|range| range.contains(&c))
}

/// `re: rest`, `fwd[2] : rest`.
fn split_marker(text: &str) -> Option<(Marker, &str)> {
    let (colon, _) = text.char_indices().take(MAX_MARKER).find(|(_, c)| matches!(c, ':' | '：'))?;
    let (head, rest) = text.split_at_checked(colon)?;
    let rest = rest.trim_start_matches([':', '：']);
    let head = head.trim_end();
    let counted = head.strip_suffix([']', ')']).and_then(|head| head.rsplit_once(['[', '('])).map(|(word, _)| word);
    let word = counted.unwrap_or_else(|| without_number(head)).trim_end().trim_end_matches('.');
    let marker = |(reply, forward): &(&[&str], &[&str])| {
        let forward = forward.contains(&word).then_some(Marker::Forward);
        reply.contains(&word).then_some(Marker::Reply).or(forward)
    };
    Some((MARKERS.iter().find_map(marker)?, rest))
}

/// `re2` and `re^2` without the number; but `r2` and `i18` are words of somebody's subject.
fn without_number(head: &str) -> &str {
    let word = head.trim_end_matches(char::is_numeric);
    let word = word.strip_suffix(['^', '*']).unwrap_or(word);
    if word.chars().nth(1).is_some() { word } else { head }
}

/// `[fwd: rest]` and `rest (fwd)`.
fn unwrap_forward(text: &str) -> Option<&str> {
    let bracketed = text.strip_prefix("[fwd:").and_then(|text| text.strip_suffix(']'));
    bracketed.or_else(|| text.strip_suffix("(fwd)"))
}

/// `[tag] rest`, where there is a rest: a tag that is all there is, is the topic.
fn split_tag(text: &str) -> Option<(&str, &str)> {
    let end = text.strip_prefix('[')?.find(['[', ']'])? + '['.len_utf8();
    let (tag, rest) = text.split_at_checked(end + ']'.len_utf8())?;
    (tag.ends_with(']') && !rest.trim().is_empty()).then_some((tag, rest))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const DAY: u64 = 86_400;
    const WINDOW: u64 = 7 * DAY;

    fn member(item: u64, time: i64, header: Header<'_>) -> Facts {
        let header = Header { date: Some(time), ..header };
        Facts::of(ItemId(item), MailId::of(&item.to_le_bytes()), &header, 0)
    }

    fn original<'h>(message_id: &'h str, subject: &'h str) -> Header<'h> {
        Header { message_id: Some(message_id), subject: Some(subject), ..Header::default() }
    }

    fn ids(ids: &[&str]) -> Vec<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    fn index_bytes(conversation: u8, levels: &[u8]) -> Vec<u8> {
        let header = iter::once(1).chain([conversation; INDEX_HEADER - 1]);
        header.chain(levels.iter().flat_map(|level| [*level; INDEX_LEVEL])).collect()
    }

    fn index(conversation: u8, levels: &[u8]) -> String {
        LENIENT.encode(index_bytes(conversation, levels))
    }

    fn related_both_ways(a: &Facts, b: &Facts) -> bool {
        let related = super::related(a, b, WINDOW);
        assert_eq!(super::related(b, a, WINDOW), related, "{a:?} {b:?}");
        related
    }

    /// Item, parent, depth; 0 stands for no parent.
    fn outline(members: &[Facts]) -> Vec<(u64, u64, u32)> {
        let places = tree(members);
        assert_tree(members, &places);
        places.into_iter().map(|at| (at.item.0, at.parent.unwrap_or_default().0, at.depth)).collect()
    }

    /// Every member once, one root and it is the earliest, every parent stands before its answers and one step less deep.
    fn assert_tree(members: &[Facts], places: &[Place]) {
        let of_members: BTreeSet<ItemId> = members.iter().map(|facts| facts.item).collect();
        let of_places: BTreeSet<ItemId> = places.iter().map(|place| place.item).collect();
        assert_eq!(of_places, of_members);
        assert_eq!(places.len(), members.len());
        let earliest = members.iter().min_by_key(|facts| facts.rank()).map(|facts| facts.item);
        assert_eq!(places.first().map(|place| place.item), earliest);
        let mut path: Vec<ItemId> = Vec::new();
        for place in places {
            path.truncate(usize::try_from(place.depth).unwrap());
            assert_eq!(path.last().copied(), place.parent, "{place:?}");
            assert_eq!(path.len(), usize::try_from(place.depth).unwrap(), "{place:?}");
            assert_eq!(place.depth == 0, Some(place.item) == earliest);
            path.push(place.item);
        }
    }

    mod keys {
        use super::*;

        const GOLDEN_BY_IDS: &str = "\
             8819012c1a6553f10050fddf69496f4ef979bc29888c5ffe588e82504c98ef376adf7b1ee88c0f57eee546b7506f5d58\
             d1eb79993f55cef1aea031e455581b0107070707070707070707070707070707070707070709090909095050152c4d48\
             0995ef1c68c49964be761df45820a49fa26726afc532c475064d75aef0188f6c6ac96508fb8cbd8825f26bf2b8eb";
        const GOLDEN_BY_TOPIC: &str = "\
             880120f680f65050152c4d480995ef1c68c49964be761df558201a0d12016999e47689dae5744d2b8c1903faf7ca2886\
             a658150083100ef2c8ee";

        #[test]
        fn a_reply_belongs_to_the_mail_that_it_names() {
            let question = member(1, 10, original("q@x", "Lunch"));
            let by_parent = member(2, 20, Header { in_reply_to: Some("<q@x>"), ..original("a@x", "Other words") });
            let refs = ids(&["q@x", "lost@x"]);
            let by_references = member(3, 30, Header { references: &refs, ..original("b@x", "Re: Lunch") });
            assert!(related_both_ways(&question, &by_parent));
            assert!(related_both_ways(&question, &by_references));
            assert!(!related_both_ways(&question, &member(4, 40, original("Q@x", "Lunch"))), "ids are case-sensitive");
        }

        #[test]
        fn two_replies_to_a_mail_that_never_came_belong_together() {
            let reply =
                |item, id| member(item, 10, Header { in_reply_to: Some("lost@x"), ..original(id, "Re: Lunch") });
            assert!(related_both_ways(&reply(1, "a@x"), &reply(2, "b@x")));
        }

        #[test]
        fn placeholders_and_words_are_not_ids() {
            for word in ["", "<>", " ", "0", "null", "<undefined>", "none", "@", "a@", "@x", "yourmessageofyesterday"] {
                assert_eq!(Key::of_id(word), None, "{word:?}");
            }
            assert!(Key::of_id("DAF3F2F7C9A14B0E8D").is_some(), "long enough without an @");
            assert_eq!(Key::of_id(" <a@x> "), Key::of_id("a@x"));
            let reply = |item| member(item, 10, Header { in_reply_to: Some("null"), ..original("", "Re: Lunch") });
            assert!(reply(1).keys().next().is_none());
        }

        #[test]
        fn an_id_is_the_start_of_its_plain_hash_and_a_topic_is_not() {
            let hash = blake3::hash(b"a@x");
            assert_eq!(Key::of_id("<a@x>").unwrap().as_bytes(), &hash.as_bytes()[..16]);
            assert_ne!(Key::of_topic("a@x"), Key::of_id("a@x"));
        }

        #[test]
        fn a_mail_that_names_itself_has_no_ancestor() {
            let refs = ids(&["a@x"]);
            let header = Header { in_reply_to: Some("a@x"), references: &refs, ..original("<a@x>", "Lunch") };
            let facts = member(1, 10, header);
            assert!(facts.refs.is_empty());
            assert!(facts.by_topic, "it does say that it is a reply");
        }

        #[test]
        fn mails_of_one_conversation_share_the_first_22_bytes_of_the_index() {
            let outlook = |item, index: &str| {
                member(item, 10, Header { thread_index: Some(index), subject: Some("Lunch"), ..Header::default() })
            };
            let question = outlook(1, &index(7, &[]));
            assert!(related_both_ways(&question, &outlook(2, &index(7, &[1]))));
            assert!(related_both_ways(&outlook(3, &index(7, &[2, 9])), &outlook(2, &index(7, &[1]))));
            assert!(!related_both_ways(&question, &outlook(4, &index(8, &[1]))));
        }

        #[test]
        fn an_index_may_be_folded_and_lack_its_padding_but_not_be_something_else() {
            let whole = index(7, &[1]);
            let folded = format!(" {}\r\n\t{}", &whole[..10], whole[10..].trim_end_matches('='));
            assert_eq!(ConversationIndex::read(&folded).unwrap().0, index_bytes(7, &[1]));
            let cut_short = LENIENT.encode(&index_bytes(7, &[1, 2])[..30]);
            assert_eq!(ConversationIndex::read(&cut_short).unwrap().0, index_bytes(7, &[1]));
            let mut other_kind = index_bytes(7, &[]);
            other_kind[0] = 2;
            let too_short = LENIENT.encode(&index_bytes(7, &[])[..21]);
            for bad in ["", "no", "%%%%", "AQ==AQ==", &too_short, &LENIENT.encode(other_kind)] {
                assert_eq!(ConversationIndex::read(bad), None, "{bad:?}");
            }
        }

        #[test]
        fn many_references_keep_the_nearest_and_the_first() {
            let refs: Vec<String> = (0..100_000).map(|n| format!("{n}@x")).collect();
            let header = Header { in_reply_to: Some("99999@x"), references: &refs, ..original("own@x", "Re: Lunch") };
            let facts = member(1, 10, header);
            assert_eq!(facts.refs.len(), MAX_REFS);
            assert_eq!(facts.refs[0], Key::of_id("99999@x").unwrap());
            assert_eq!(facts.refs[62], Key::of_id("99937@x").unwrap());
            assert_eq!(facts.refs[63], Key::of_id("0@x").unwrap());
            let exactly = member(1, 10, Header { references: &refs[..MAX_REFS], ..Header::default() });
            assert_eq!(exactly.refs.last().copied(), Key::of_id("0@x"));
            let same: Vec<String> = vec!["a@x".to_owned(); 100_000];
            assert_eq!(member(1, 10, Header { references: &same, ..Header::default() }).refs.len(), 1);
        }

        #[test]
        fn broken_fields_of_any_length_stay_small() {
            let deep = index(7, &[3; 10_000]);
            let facts = member(1, 10, Header { thread_index: Some(&deep), ..Header::default() });
            assert_eq!(facts.index.clone().unwrap().0.len(), MAX_INDEX);
            assert!(related_both_ways(
                &facts,
                &member(2, 10, Header { thread_index: Some(&index(7, &[])), ..Header::default() })
            ));
            for garbage in ["A", "=", "\u{feff}\u{fe0f}", "ÄÖÜ", "AQ=="] {
                let garbage = garbage.repeat(1_000_000);
                let refs = vec![garbage.clone()];
                let header = Header { thread_index: Some(&garbage), references: &refs, ..original(&garbage, &garbage) };
                let facts = member(1, 10, header);
                assert_eq!(facts.index, None);
                assert!(minicbor::to_vec(&facts).unwrap().len() < 200);
            }
        }

        /// The stored form. Fields are only ever added: the old bytes must read back for ever.
        #[test]
        fn the_stored_form_of_facts_never_changes() {
            let refs = ids(&["a@x", "b@x"]);
            let index = index(7, &[9]);
            let header = Header { references: &refs, thread_index: Some(&index), ..original("c@x", "Re: Lunch") };
            let by_ids = member(300, 1_700_000_000, header);
            let by_topic = member(1, -1, Header { subject: Some("Re: Lunch"), ..Header::default() });
            for (facts, golden) in [(by_ids, GOLDEN_BY_IDS), (by_topic, GOLDEN_BY_TOPIC)] {
                assert_eq!(hex::encode(minicbor::to_vec(&facts).unwrap()), golden);
                assert_eq!(minicbor::decode::<Facts>(&hex::decode(golden).unwrap()).unwrap(), facts);
            }
        }

        #[test]
        fn what_is_no_key_and_no_index_is_not_read_as_one() {
            let bytes = |bytes: &[u8]| {
                let mut encoder = minicbor::Encoder::new(Vec::new());
                encoder.bytes(bytes).unwrap();
                encoder.into_writer()
            };
            assert!(minicbor::decode::<Key>(&bytes(&[0; 15])).is_err());
            assert!(minicbor::decode::<ConversationIndex>(&bytes(&[1; 21])).is_err());
            assert!(minicbor::decode::<ConversationIndex>(&bytes(&[0; 22])).is_err());
        }
    }

    mod topics {
        use super::*;

        fn titled(item: u64, time: i64, subject: &str) -> Facts {
            member(item, time, Header { subject: Some(subject), ..Header::default() })
        }

        #[test]
        fn a_reply_with_nothing_else_to_go_by_joins_its_topic_within_the_window() {
            let question = titled(1, 0, "Lunch");
            let week = i64::try_from(WINDOW).unwrap();
            assert!(related_both_ways(&question, &titled(2, 5, "AW: lunch")));
            assert!(related_both_ways(&question, &titled(2, week, "Re: Lunch")));
            assert!(related_both_ways(&question, &titled(2, -week, "Re: Lunch")), "clocks differ");
            assert!(!related_both_ways(&question, &titled(2, week + 1, "Re: Lunch")));
            assert!(!related_both_ways(&question, &titled(2, 5, "Re: Dinner")));
            assert!(!super::super::related(&question, &titled(2, 1, "Re: Lunch"), 0));
        }

        #[test]
        fn mails_that_do_not_say_that_they_are_replies_never_meet_by_topic() {
            assert!(!related_both_ways(&titled(1, 0, "Lunch"), &titled(2, 5, "Lunch")));
            assert!(!related_both_ways(&titled(1, 0, "Lunch"), &titled(2, 5, "Fwd: Lunch")));
            assert!(related_both_ways(&titled(1, 0, "Re: Lunch"), &titled(2, 5, "Fwd: Lunch")));
        }

        #[test]
        fn a_reply_that_names_its_conversation_does_not_go_by_topic() {
            let question = titled(1, 0, "Lunch");
            let header = Header { subject: Some("Re: Lunch"), ..Header::default() };
            let index = index(7, &[1]);
            assert!(!related_both_ways(&question, &member(2, 5, Header { in_reply_to: Some("q@x"), ..header })));
            assert!(!related_both_ways(&question, &member(2, 5, Header { thread_index: Some(&index), ..header })));
            assert!(related_both_ways(&question, &member(2, 5, Header { thread_index: Some("garbage"), ..header })));
        }

        #[test]
        fn a_broken_reference_says_that_the_mail_is_a_reply() {
            let question = titled(1, 0, "Lunch");
            let header = Header { subject: Some("Lunch"), ..Header::default() };
            let broken = ids(&["null"]);
            assert!(related_both_ways(&question, &member(2, 5, Header { in_reply_to: Some(""), ..header })));
            assert!(related_both_ways(&question, &member(2, 5, Header { references: &broken, ..header })));
            assert!(!related_both_ways(&question, &member(2, 5, header)));
        }

        #[test]
        fn empty_topics_never_meet() {
            let nothing = [None, Some(""), Some("Re:"), Some(" AW: Re: \t"), Some("\u{200b}")];
            let mails = nothing.map(|subject| {
                member(1, 0, Header { subject, in_reply_to: Some(""), thread_topic: Some(""), ..Header::default() })
            });
            for (a, b) in mails.iter().flat_map(|a| mails.iter().map(move |b| (a, b))) {
                assert_eq!(a.topic, None);
                assert!(!related_both_ways(a, b));
                assert_eq!(a.topic_range(WINDOW), None);
            }
        }

        #[test]
        fn the_thread_topic_goes_before_the_subject_unless_it_is_empty() {
            let renamed = Header { subject: Some("Re: Supper"), thread_topic: Some("Lunch"), ..Header::default() };
            assert!(related_both_ways(&titled(1, 0, "lunch"), &member(2, 5, renamed)));
            let empty = Header { thread_topic: Some(" "), ..renamed };
            assert!(related_both_ways(&titled(1, 0, "supper"), &member(2, 5, empty)));
        }

        #[test]
        fn the_date_counts_and_only_without_one_the_time_of_receipt() {
            let header = Header { subject: Some("Lunch"), ..Header::default() };
            let at = |date| Facts::of(ItemId(1), MailId::of(b""), &Header { date, ..header }, 99).time;
            assert_eq!((at(Some(-5)), at(None)), (-5, 99));
        }

        #[test]
        fn the_range_ends_where_time_does() {
            let facts = titled(1, i64::MAX - 1, "Lunch");
            assert_eq!(facts.topic_range(5), Some((facts.topic.unwrap(), i64::MAX - 6..=i64::MAX)));
            assert_eq!(titled(1, 0, "Lunch").topic_range(u64::MAX).unwrap().1, i64::MIN..=i64::MAX);
            assert!(super::super::related(&titled(1, i64::MIN, "Re: A"), &titled(2, i64::MAX, "a"), u64::MAX));
        }

        #[test]
        fn markers_of_replies_are_taken_off_in_many_languages() {
            for subject in [
                "Lunch plan",
                "  Lunch \t plan\r\n ",
                "RE: Lunch plan",
                "re:lunch plan",
                "Re : Lunch plan",
                "Re[2]: Lunch plan",
                "RE (3): Lunch plan",
                "Re^2: Lunch plan",
                "Re*4: Lunch plan",
                "Re2: Lunch plan",
                "Re [team]: Lunch plan",
                "Re:: Lunch plan",
                "Re: Re: AW: WG: Fwd: Lunch plan",
                "Antw: Lunch plan",
                "Réf. : Lunch plan",
                "Re\u{301}f.\u{a0}: Lunch plan",
                "R: I: Lunch plan",
                "SV: VS: Lunch plan",
                "Odp: PD: Lunch plan",
                "YNT: İLT: Lunch plan",
                "ΑΠ: ΠΡΘ: Lunch plan",
                "Ответ: Lunch plan",
                "\u{200f}תגובה: Lunch plan",
                "رد: إعادة توجيه: Lunch plan",
                "回复：转发： Lunch plan",
                "答复: Lunch plan",
                "[Team] Re: Lunch plan",
                "Re: [team] Lunch plan",
                "[EXTERN] AW: [EXTERN] Lunch plan",
                "Lunch plan (fwd)",
                "[Fwd: Lunch plan]",
                "[team] [Fwd: Re: [team] Lunch plan (fwd) ]",
                "Lunch\u{ad} plan\u{feff}",
            ] {
                assert_eq!(topic_of(subject).0, "lunch plan", "{subject:?}");
            }
        }

        #[test]
        fn words_that_only_look_like_markers_stay() {
            for subject in [
                "regarding: lunch",
                "re",
                "re lunch",
                "reply: lunch",
                "r2: d2",
                "i18: n",
                "a: b",
                "lunch (fwd) plan",
                "[team]",
                "[lunch",
                "re[2 lunch",
                "lunch: re: plan",
            ] {
                assert_eq!(topic_of(subject), (subject.to_owned(), false));
            }
        }

        #[test]
        fn the_outermost_marker_says_what_a_mail_is() {
            for (subject, reply) in [
                ("Re: Lunch", true),
                ("Re: Fwd: Lunch", true),
                ("Re: Lunch (fwd)", true),
                ("[team] Sv: Lunch", true),
                ("Vs: Lunch", true),
                ("回复：Lunch", true),
                ("Fwd: Re: Lunch", false),
                ("[Fwd: Re: Lunch]", false),
                ("WG: AW: Lunch", false),
                ("转发: 回复: Lunch", false),
                ("Lunch (fwd)", false),
                ("Lunch", false),
                ("[team] Lunch", false),
            ] {
                assert_eq!(topic_of(subject), ("lunch".to_owned(), reply), "{subject:?}");
            }
        }

        #[test]
        fn a_tag_with_a_number_in_it_stays_wherever_it_stood() {
            for subject in ["[JIRA-12] Down", "Re: [jira-12] Down", "[JIRA-12] Re: [team] [JIRA-12]  Down"] {
                assert_eq!(topic_of(subject).0, "[jira-12] down", "{subject:?}");
            }
            assert_eq!(topic_of("[PATCH 1/3] [b2] x").0, topic_of("[b2] Re: [patch 1/3] x").0);
            assert_ne!(topic_of("[PATCH 1/3] x").0, topic_of("[PATCH 2/3] x").0);
            assert_eq!(topic_of("Re: [team] [#12]").0, "[#12]");
            assert_eq!(topic_of("[#12] [team] Re:").0, "[#12]");
        }

        #[test]
        fn case_and_composition_do_not_matter() {
            assert_eq!(topic_of("GRÜSSE Σας").0, topic_of("gru\u{308}sse σασ").0);
        }

        #[test]
        fn every_marker_is_written_the_way_it_is_looked_for() {
            let mut seen = BTreeSet::new();
            for marker in MARKERS.iter().flat_map(|(reply, forward)| reply.iter().chain(*forward)) {
                assert_eq!(fold(marker), **marker);
                assert!(seen.insert(marker), "{marker} twice");
                assert!(marker.chars().count() + "[99999]:".len() < MAX_MARKER);
            }
        }

        #[test]
        fn a_subject_full_of_markers_or_tags_does_not_cost_the_square_of_its_length() {
            // It would take minutes.
            for piece in ["Re: ", "[1] ", "[a]", "[", "[Fwd:", "re[", "(fwd)", "[12345678901]", "a:", "\u{301}", "] "] {
                let subject = piece.repeat(100_000 / piece.len());
                assert!(topic_of(&subject).0.len() <= subject.len());
                let _ = topic_of(&format!("x {subject}"));
            }
        }
    }

    mod trees {
        use super::*;

        #[test]
        fn a_reply_by_outlook_and_one_by_thunderbird_join_the_original() {
            let (first, second) = (index(7, &[]), index(7, &[1]));
            let question = Header { thread_index: Some(&first), ..original("q@x", "Lunch") };
            let outlook = Header { thread_index: Some(&second), ..original("o@x", "RE: Lunch") };
            let thunderbird = Header { in_reply_to: Some("q@x"), ..original("t@x", "Re: Lunch") };
            let members = [member(1, 10, question), member(2, 30, outlook), member(3, 20, thunderbird)];
            assert!(related_both_ways(&members[0], &members[1]));
            assert!(related_both_ways(&members[0], &members[2]));
            assert!(!related_both_ways(&members[1], &members[2]), "they meet in the original alone");
            assert_eq!(outline(&members), [(1, 0, 0), (3, 1, 1), (2, 1, 1)]);
        }

        #[test]
        fn a_mail_hangs_under_its_nearest_ancestor_that_is_there() {
            let refs = ids(&["a@x", "b@x", "lost@x"]);
            let header = Header { references: &refs, in_reply_to: Some("lost@x"), ..original("d@x", "") };
            let members = [
                member(4, 40, header),
                member(1, 10, original("a@x", "")),
                member(2, 20, Header { in_reply_to: Some("a@x"), ..original("b@x", "") }),
                member(3, 30, Header { in_reply_to: Some("a@x"), ..original("c@x", "") }),
            ];
            assert_eq!(outline(&members), [(1, 0, 0), (2, 1, 1), (4, 2, 2), (3, 1, 1)]);
        }

        #[test]
        fn in_reply_to_goes_before_references() {
            let refs = ids(&["a@x", "b@x"]);
            let members = [
                member(1, 10, original("a@x", "")),
                member(2, 20, Header { in_reply_to: Some("a@x"), ..original("b@x", "") }),
                member(3, 30, Header { in_reply_to: Some("a@x"), references: &refs, ..original("c@x", "") }),
            ];
            assert_eq!(outline(&members), [(1, 0, 0), (2, 1, 1), (3, 1, 1)]);
        }

        #[test]
        fn without_named_ancestors_the_longest_prefix_of_the_index_is_the_parent() {
            let indices =
                [&[][..], &[1], &[1, 2], &[1, 2], &[1, 2, 3], &[2, 5, 5], &[2, 5]].map(|levels| index(7, levels));
            let members: Vec<Facts> = (1..)
                .zip(&indices)
                .map(|(n, index)| member(n, n.cast_signed(), Header { thread_index: Some(index), ..Header::default() }))
                .collect();
            let expected = [(1, 0, 0), (2, 1, 1), (3, 2, 2), (5, 3, 3), (4, 2, 2), (7, 1, 1), (6, 7, 2)];
            assert_eq!(outline(&members), expected);
        }

        #[test]
        fn a_named_ancestor_goes_before_a_nearer_one_by_index() {
            let indices = [&[][..], &[1], &[1, 2]].map(|levels| index(7, levels));
            let by_index = |n: usize, header| Header { thread_index: Some(&indices[n]), ..header };
            let members = [
                member(1, 10, by_index(0, original("a@x", ""))),
                member(2, 20, by_index(1, original("b@x", ""))),
                member(3, 30, by_index(2, Header { in_reply_to: Some("a@x"), ..original("c@x", "") })),
            ];
            assert_eq!(outline(&members), [(1, 0, 0), (2, 1, 1), (3, 1, 1)]);
        }

        #[test]
        fn a_reply_by_topic_hangs_under_the_latest_mail_of_its_topic_before_it() {
            let titled =
                |n: u64, subject| member(n, n.cast_signed(), Header { subject: Some(subject), ..Header::default() });
            let other = Header { subject: Some("Re: Tea"), in_reply_to: Some("lost@x"), ..Header::default() };
            let members = [titled(1, "Lunch"), titled(2, "Re: Lunch"), member(3, 3, other), titled(4, "AW: Lunch")];
            assert_eq!(outline(&members), [(1, 0, 0), (2, 1, 1), (4, 2, 2), (3, 1, 1)]);
        }

        #[test]
        fn a_reply_whose_ancestors_are_all_missing_hangs_under_the_root() {
            let orphan = Header { in_reply_to: Some("lost@x"), ..original("c@x", "Re: Lunch") };
            let members = [
                member(1, 10, original("a@x", "Lunch")),
                member(2, 20, original("b@x", "Re: Lunch")),
                member(3, 30, orphan),
            ];
            assert_eq!(outline(&members), [(1, 0, 0), (2, 1, 1), (3, 1, 1)]);
        }

        #[test]
        fn a_reply_dated_before_its_parent_still_hangs_under_it() {
            let members = [
                member(1, 10, original("a@x", "")),
                member(2, 50, Header { in_reply_to: Some("a@x"), ..original("b@x", "") }),
                member(3, 20, Header { in_reply_to: Some("b@x"), ..original("c@x", "") }),
            ];
            assert_eq!(outline(&members), [(1, 0, 0), (2, 1, 1), (3, 2, 2)]);
        }

        #[test]
        fn the_earliest_mail_is_the_root_even_if_it_answers_another() {
            let members = [
                member(1, 10, Header { in_reply_to: Some("b@x"), ..original("a@x", "Re: Lunch") }),
                member(2, 20, original("b@x", "Lunch")),
                member(3, 30, Header { in_reply_to: Some("b@x"), ..original("c@x", "Re: Lunch") }),
            ];
            assert_eq!(outline(&members), [(1, 0, 0), (2, 1, 1), (3, 2, 2)]);
        }

        #[test]
        fn a_ring_is_cut_at_its_earliest_mail() {
            let members = [
                member(1, 10, original("a@x", "")),
                member(2, 20, Header { in_reply_to: Some("d@x"), references: &ids(&["a@x"]), ..original("b@x", "") }),
                member(3, 30, Header { in_reply_to: Some("b@x"), ..original("c@x", "") }),
                member(4, 40, Header { in_reply_to: Some("c@x"), ..original("d@x", "") }),
            ];
            assert_eq!(outline(&members), [(1, 0, 0), (2, 1, 1), (3, 2, 2), (4, 3, 3)]);
        }

        #[test]
        fn a_guess_by_topic_does_not_keep_a_named_parent_from_being_one() {
            let members = [
                member(1, 10, original("a@x", "Lunch")),
                member(2, 20, Header { in_reply_to: Some("c@x"), ..original("b@x", "Re: Lunch") }),
                member(3, 30, original("c@x", "Re: Lunch")),
            ];
            assert_eq!(outline(&members), [(1, 0, 0), (3, 1, 1), (2, 3, 2)]);
        }

        #[test]
        fn a_guess_by_topic_does_not_keep_a_parent_by_index_from_being_one() {
            let (parent, child) = (index(7, &[1]), index(7, &[1, 2]));
            let members = [
                member(1, 10, original("a@x", "Tea")),
                member(2, 20, Header { thread_index: Some(&child), ..original("b@x", "Lunch") }),
                member(3, 30, original("c@x", "Re: Lunch")),
                member(4, 40, Header { thread_index: Some(&parent), in_reply_to: Some("c@x"), ..original("d@x", "") }),
            ];
            assert_eq!(outline(&members), [(1, 0, 0), (3, 1, 1), (4, 3, 2), (2, 4, 3)]);
        }

        #[test]
        fn of_two_mails_with_one_id_the_earlier_is_the_parent() {
            let members = [
                member(1, 10, original("a@x", "")),
                member(2, 20, original("a@x", "copy")),
                member(3, 30, Header { in_reply_to: Some("a@x"), ..original("b@x", "") }),
            ];
            assert_eq!(outline(&members), [(1, 0, 0), (2, 1, 1), (3, 1, 1)]);
        }

        #[test]
        fn no_member_no_tree_and_one_member_is_its_root() {
            assert_eq!(outline(&[]), []);
            assert_eq!(
                outline(&[member(5, 0, Header { in_reply_to: Some("lost@x"), ..Header::default() })]),
                [(5, 0, 0)]
            );
        }

        #[test]
        fn a_chain_of_50_000_replies_is_as_deep_as_it_is_long() {
            let count: i64 = 50_000;
            let members: Vec<Facts> = (0..count)
                .rev()
                .map(|n| {
                    let (own, parent) = (format!("{n}@x"), format!("{}@x", n - 1));
                    let header = Header { message_id: Some(&own), in_reply_to: Some(&parent), ..Header::default() };
                    // Every second clock is wrong, so that the chain grows at both ends.
                    member(n.cast_unsigned(), if n % 2 == 0 { n } else { count + n }, header)
                })
                .collect();
            let places = tree(&members);
            assert_tree(&members, &places);
            assert_eq!(places.last().map(|place| place.depth), Some(49_999));
        }

        #[test]
        fn a_discussion_of_50_000_mails_that_name_each_other_at_random_is_a_tree() {
            let count: i64 = 50_000;
            let members: Vec<Facts> = (0..count)
                .map(|n| {
                    let id = |k: i64| format!("{}@x", (n * 31 + k * 977).rem_euclid(count));
                    let (own, refs) = (format!("{n}@x"), (0..8).map(id).collect::<Vec<_>>());
                    let index = index(7, &[u8::try_from(n % 200).unwrap(), u8::try_from(n % 3).unwrap()]);
                    let header = Header {
                        message_id: Some(&own),
                        references: &refs,
                        thread_index: Some(&index),
                        ..Header::default()
                    };
                    member(n.cast_unsigned(), n * 7_919 % count, header)
                })
                .collect();
            assert_tree(&members, &tree(&members));
        }
    }

    mod any_order {
        use super::*;

        /// A board as a store keeps one: what came first is filed under its keys, what comes later is joined to what is there.
        #[derive(Default)]
        struct Board {
            members: Vec<Facts>,
            discussion: Vec<usize>,
            by_key: HashMap<Key, usize>,
            by_topic: BTreeMap<(Key, i64), Vec<usize>>,
        }

        impl Board {
            fn arrives(&mut self, facts: &Facts) {
                let new = self.members.len();
                self.members.push(facts.clone());
                self.discussion.push(new);
                for key in facts.keys() {
                    let holder = *self.by_key.entry(key).or_insert(new);
                    self.join(holder, new);
                }
                let Some((topic, times)) = facts.topic_range(WINDOW) else { return };
                let range = (topic, *times.start())..=(topic, *times.end());
                let found: Vec<usize> = self.by_topic.range(range).flat_map(|(_, found)| found).copied().collect();
                for other in found {
                    if super::super::related(facts, &self.members[other], WINDOW) {
                        self.join(other, new);
                    }
                }
                self.by_topic.entry((topic, facts.time)).or_default().push(new);
            }

            fn join(&mut self, a: usize, b: usize) {
                let (from, to) = (self.discussion[a], self.discussion[b]);
                self.discussion.iter_mut().filter(|discussion| **discussion == from).for_each(|found| *found = to);
            }

            /// Every discussion as it is read; a set, because the board numbers discussions by arrival.
            fn trees(&self) -> BTreeSet<Vec<(u64, Option<u64>, u32)>> {
                let numbers: BTreeSet<usize> = self.discussion.iter().copied().collect();
                let trees = numbers.iter().map(|number| {
                    let members = self.members.iter().zip(&self.discussion).filter(|(_, found)| *found == number);
                    let members: Vec<Facts> = members.map(|(facts, _)| facts.clone()).collect();
                    let places = tree(&members);
                    assert_tree(&members, &places);
                    places.iter().map(|at| (at.item.0, at.parent.map(|parent| parent.0), at.depth)).collect()
                });
                trees.collect()
            }

            fn sets(&self) -> BTreeSet<BTreeSet<u64>> {
                self.trees().iter().map(|tree| tree.iter().map(|at| at.0).collect()).collect()
            }
        }

        fn board(mails: &[Facts]) -> Board {
            let mut board = Board::default();
            for facts in mails {
                board.arrives(facts);
            }
            board
        }

        /// The definition: everything that a chain of related mails leads to.
        fn components(mails: &[Facts]) -> BTreeSet<BTreeSet<u64>> {
            let reach = |start: &Facts| {
                let mut found = vec![start];
                let mut at = 0;
                while at < found.len() {
                    let from = found[at];
                    let new = mails.iter().filter(|to| related_both_ways(from, to));
                    let new: Vec<_> = new.filter(|to| found.iter().all(|known| known.item != to.item)).collect();
                    found.extend(new);
                    at += 1;
                }
                found.iter().map(|facts| facts.item.0).collect()
            };
            mails.iter().map(reach).collect()
        }

        /// Few ids, topics and conversations, so that they often meet, ring around and contradict each other.
        fn header_facts() -> impl Strategy<Value = Facts> {
            let id = || prop::option::of(0_u8..12);
            let place = prop::option::weighted(0.3, (0_u8..2, prop::collection::vec(0_u8..2, 0..4)));
            let topic = (prop::sample::select(vec!["", "Re: ", "Fwd: "]), prop::sample::select(vec!["", "Tea", "Pie"]));
            let refs = prop::collection::vec(0_u8..12, 0..3);
            (id(), id(), refs, place, topic, 0_i64..14).prop_map(|(own, parent, refs, place, (marker, topic), day)| {
                let id = |n: u8| if n == 0 { "null".to_owned() } else { format!("{n}@x") };
                let (own, parent) = (own.map(id), parent.map(id));
                let refs: Vec<String> = refs.into_iter().map(id).collect();
                let index = place.map(|(conversation, levels)| index(conversation, &levels));
                let header = Header {
                    message_id: own.as_deref(),
                    in_reply_to: parent.as_deref(),
                    references: &refs,
                    thread_index: index.as_deref(),
                    subject: Some(&format!("{marker}{topic}")),
                    ..Header::default()
                };
                member(0, day * i64::try_from(DAY).unwrap(), header)
            })
        }

        fn mails() -> impl Strategy<Value = Vec<Facts>> {
            prop::collection::vec(header_facts(), 1..16).prop_map(|mut mails| {
                for (n, facts) in (1..).zip(&mut mails) {
                    (facts.item, facts.tie) = (ItemId(n), MailId::of(&n.to_le_bytes()));
                }
                mails
            })
        }

        proptest! {
            #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

            #[test]
            fn any_order_of_arrival_gives_the_same_discussions_and_the_same_trees(
                (mails, shuffled) in mails().prop_flat_map(|mails| (Just(mails.clone()), Just(mails).prop_shuffle()))
            ) {
                let (here, there) = (board(&mails), board(&shuffled));
                prop_assert_eq!(here.trees(), there.trees());
                prop_assert_eq!(here.sets(), components(&mails));
            }

            #[test]
            fn any_members_make_a_tree_that_does_not_depend_on_their_order(
                (mails, shuffled) in mails().prop_flat_map(|mails| (Just(mails.clone()), Just(mails).prop_shuffle()))
            ) {
                let places = tree(&mails);
                assert_tree(&mails, &places);
                prop_assert_eq!(tree(&shuffled), places);
            }

            #[test]
            fn facts_read_back_what_was_stored(facts in header_facts()) {
                let stored = minicbor::to_vec(&facts).unwrap();
                prop_assert_eq!(minicbor::decode::<Facts>(&stored).unwrap(), facts);
            }

            #[test]
            fn any_text_has_a_topic(subject in any::<String>(), marker in "((re|fwd|r|aw|x)?[\\[(\\]):：^ 2a]{0,3}){0,6}") {
                let _ = topic_of(&subject);
                let _ = topic_of(&format!("{marker}{subject}"));
                let _ = ConversationIndex::read(&subject);
                let _ = Key::of_id(&subject);
            }
        }
    }
}
