//! Made-up text with topics: the document that a session fetches is about one passage of
//! the knowledge that it reads, so that the search has something to find and a wrong
//! answer would be seen.

use std::fmt::Write;

use crate::plan::mix;

/// As many knowledge files as a server of this kind has customers, say; session `i` reads
/// number `i % BASES`.
pub(crate) const BASES: usize = 8;

const WORDS_PER_PASSAGE: usize = 120;
const SYLLABLES: [&str; 16] = [
    "ba", "co", "di", "fe", "gu", "ha", "jo", "ki", "lu", "me", "no", "pa", "ri", "so", "tu", "ve",
];

/// At least `bytes` of passages, one a line.
pub(crate) fn knowledge(base: usize, bytes: usize) -> String {
    let mut text = String::with_capacity(bytes + 2048);
    for passage in 0.. {
        if text.len() >= bytes {
            break;
        }
        sentence(
            &mut text,
            base,
            passage,
            mix(base as u64, passage as u64, 0),
        );
        text.push('\n');
    }
    text
}

/// About one of the first 64 passages of the session's knowledge, in other words of the
/// same topic.
pub(crate) fn document(session: usize) -> String {
    let mut text = String::new();
    let passage = mix(session as u64, 1, 1) as usize % 64;
    for paragraph in 0..4 {
        let salt = mix(session as u64, passage as u64, paragraph + 2);
        sentence(&mut text, session % BASES, passage, salt);
        text.push('\n');
    }
    text
}

/// Two words of three are from the topic's own forty, the others from a vocabulary that
/// all share.
fn sentence(text: &mut String, base: usize, passage: usize, salt: u64) {
    let topic = mix(base as u64, passage as u64, 99);
    for i in 0..WORDS_PER_PASSAGE as u64 {
        let dice = mix(salt, i, 3);
        let word = if dice % 3 < 2 {
            mix(topic, (dice >> 8) % 40, 4)
        } else {
            (dice >> 8) % 500
        };
        for syllable in 0..2 + word % 3 {
            text.push_str(SYLLABLES[(mix(word, syllable, 5) % 16) as usize]);
        }
        text.push(if i % 12 == 11 { '.' } else { ' ' });
    }
    write!(text, "({base}/{passage})").expect("a String takes everything");
}
