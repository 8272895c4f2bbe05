//! The CPU-heavy step: text is split into overlapping chunks, and each becomes a vector
//! by feature hashing of its n-grams. No model to download, yet near texts get near
//! vectors, and the work is real.

use std::time::Duration;

use crate::{corpus, usage};

const DIMENSIONS: usize = 256;
const CHUNK: usize = 1000;
/// Each chunk begins half a chunk after the one before, so that no sentence is cut in all
/// of them.
const STRIDE: usize = CHUNK / 2;
const SHORTEST_GRAM: usize = 3;
const LONGEST_GRAM: usize = 7;
/// Slots per n-gram: two that collide in one slot seldom do in all.
const HASHES: usize = 4;

type Vector = [f32; DIMENSIONS];

pub(crate) struct Index {
    chunks: Vec<(String, Vector)>,
}

impl Index {
    pub(crate) fn new(text: &str) -> Index {
        Index {
            chunks: split(text)
                .map(|chunk| (chunk.to_owned(), embed(chunk)))
                .collect(),
        }
    }

    /// The chunks nearest to `question`, best first.
    pub(crate) fn nearest(&self, question: &str, count: usize) -> Vec<&str> {
        let question = embed(question);
        let mut scored: Vec<(f32, &str)> = self
            .chunks
            .iter()
            .map(|(text, vector)| (dot(&question, vector), text.as_str()))
            .collect();
        scored.sort_by(|a, b| b.0.total_cmp(&a.0));
        scored
            .into_iter()
            .take(count)
            .map(|(_, text)| text)
            .collect()
    }
}

/// Text whose index takes about `wanted` of CPU on this machine, so that the step weighs
/// the same everywhere. The fastest of many short tries counts: one that was disturbed
/// would make the text too short.
pub(crate) fn bytes_worth(wanted: Duration) -> usize {
    let sample = corpus::knowledge(0, 16 * 1024);
    let fastest = (0..30)
        .map(|_| {
            let before = usage::thread_cpu();
            std::hint::black_box(Index::new(&sample));
            usage::thread_cpu() - before
        })
        .min()
        .unwrap_or_default()
        .max(Duration::from_micros(1));
    (sample.len() as f64 * wanted.as_secs_f64() / fastest.as_secs_f64()) as usize
}

fn split(text: &str) -> impl Iterator<Item = &str> {
    let last = text.len().saturating_sub(STRIDE);
    (0..last.max(1)).step_by(STRIDE).map(|start| {
        let start = boundary(text, start);
        &text[start..boundary(text, start + CHUNK)]
    })
}

/// The last place at or before `at` where no character is cut.
fn boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len()))
        .rev()
        .find(|&i| text.is_char_boundary(i))
        .unwrap_or(0)
}

fn embed(text: &str) -> Vector {
    let mut vector = [0.0; DIMENSIONS];
    let bytes = text.as_bytes();
    for start in 0..bytes.len() {
        // FNV-1a, carried on from each n-gram to the next longer one.
        let mut hash = 0xCBF2_9CE4_8422_2325_u64;
        for (length, &byte) in (1..=LONGEST_GRAM).zip(&bytes[start..]) {
            hash =
                (hash ^ u64::from(byte.to_ascii_lowercase())).wrapping_mul(0x0000_0100_0000_01B3);
            if length >= SHORTEST_GRAM {
                count(&mut vector, hash);
            }
        }
    }
    let norm = dot(&vector, &vector).sqrt().max(f32::MIN_POSITIVE);
    vector.iter_mut().for_each(|x| *x /= norm);
    vector
}

/// Signed, so that collisions cancel out on average.
fn count(vector: &mut Vector, hash: u64) {
    let mut bits = (hash ^ (hash >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits ^= bits >> 32;
    for _ in 0..HASHES {
        let sign = if bits & 0x100 == 0 { 1.0 } else { -1.0 };
        vector[(bits & 0xFF) as usize] += sign;
        bits >>= 9;
    }
}

fn dot(a: &Vector, b: &Vector) -> f32 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_finds_the_passage_that_it_is_about() {
        for session in 0..20 {
            let index = Index::new(&corpus::knowledge(session % corpus::BASES, 100_000));
            let document = corpus::document(session);
            let passage = document
                .lines()
                .next()
                .and_then(|line| line.rsplit('.').next())
                .unwrap();
            let found = index.nearest(&document, 3);
            assert!(
                found.iter().any(|chunk| chunk.contains(passage)),
                "session {session}, {passage}"
            );
        }
    }

    #[test]
    fn every_byte_is_in_a_chunk() {
        for length in [0, 1, 499, 500, 999, 1000, 1001, 1499, 1500, 2600] {
            let text = "ä".repeat(length);
            let chunks: Vec<&str> = split(&text).collect();
            let end = chunks
                .last()
                .map(|chunk| chunk.as_ptr() as usize + chunk.len());
            assert_eq!(end, Some(text.as_ptr() as usize + text.len()), "{length}");
        }
    }
}
