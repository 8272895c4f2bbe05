//! Compressing a file with zstd, as a stream, and stopping when nobody waits any more.
//!
//! * The blocking call: `zstd::stream::copy_encode(file, target, 19)`.
//! * The change: `offload_cpu_with(move |job| compress(job, ..)).await`, with a look at
//!   `job.checkpoint()` for each chunk. It reads and writes files, too; but compressing is
//!   what takes the time, so it belongs on the CPU pool. With a slow disk, or level 1,
//!   `offload_io` is the right one.
//! * Better: `async-compression` compresses in polls, on the event loop: for small bodies of
//!   HTTP that is fine, for files it is what this example avoids.

#[path = "common/lag.rs"]
mod lag;

use anyhow::{Context, Result, ensure};
use lag::lag_during;
use offramp::{Job, Offload, offload_cpu_with};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::NamedTempFile;

const LEVEL: i32 = 12;
const CHUNK: usize = 64 * 1024;

/// `target` appears when it is complete. Stopped or failed, nothing is left of it.
fn compress(job: &Job, source: &Path, target: &Path) -> io::Result<u64> {
    let folder = target.parent().unwrap_or(Path::new("."));
    let mut encoder = zstd::Encoder::new(NamedTempFile::new_in(folder)?, LEVEL)?;
    let mut source = File::open(source)?;
    let mut chunk = vec![0; CHUNK];
    loop {
        job.checkpoint()?;
        match source.read(&mut chunk)? {
            0 => break,
            read => encoder.write_all(&chunk[..read])?,
        }
    }
    let file = encoder.finish()?.persist(target)?;
    Ok(file.metadata()?.len())
}

/// Prose of sorts: it shrinks, but not to nothing.
fn text(bytes: usize) -> String {
    let words = [
        "async", "blocking", "thread", "pool", "loop", "future", "wakes",
    ];
    let mut random = 1_u32;
    let mut text = String::with_capacity(bytes + 8);
    while text.len() < bytes {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        text.push_str(words[random as usize % words.len()]);
        text.push(char::from(b'a' + (random >> 16) as u8 % 26));
        text.push(' ');
    }
    text
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let source = folder.path().join("log.txt");
    let text = text(3 << 19);
    fs::write(&source, &text)?;
    let start = |target: PathBuf| {
        let source = source.clone();
        offload_cpu_with(move |job| Ok(compress(job, &source, &target)))
    };

    let whole = |target: &str| folder.path().join(target);
    let (_, before) = lag_during(async {
        let mut encoded = Vec::new();
        zstd::stream::copy_encode(text.as_bytes(), &mut encoded, LEVEL)
    })
    .await;
    let (size, after) = lag_during(start(whole("log.zst"))).await;
    let size = size?.context("compressing")?;
    ensure!(
        zstd::decode_all(File::open(whole("log.zst"))?)? == text.as_bytes(),
        "what comes out is not what went in"
    );
    println!(
        "{} bytes to {size}, on the loop: late by {before:.0?}",
        text.len()
    );
    println!(
        "{} bytes to {size}, offloaded:   late by {after:.0?}",
        text.len()
    );
    ensure!(after < before / 2, "compressing holds up the loop");

    // Dropping the future is asking the job to stop: at the next chunk.
    let outcome = tokio::time::timeout(Duration::from_millis(5), start(whole("late.zst"))).await;
    ensure!(outcome.is_err(), "the file was too small for this");
    let global = Offload::global()?;
    while global.stats().cpu.running > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let left = fs::read_dir(folder.path())?.count();
    println!("dropped after 5 ms: stopped, {left} files as before");
    ensure!(left == 2, "a cancelled job left a file behind");
    Ok(())
}
