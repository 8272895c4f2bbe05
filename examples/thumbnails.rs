//! Thumbnails with `image`: files in and out, and CPU in between.
//!
//! * The blocking calls: `image::open(path)`, `picture.thumbnail(..)`, `thumbnail.save(..)`.
//! * The change: reading and writing by `offload_io`, the rest by
//!   `offload_cpu(move || sizes.par_iter().map(..).collect())`. The CPU pool is a rayon pool:
//!   a `par_iter` inside of the job runs on it.
//! * Better: nothing for the CPU part. A picture or two a minute need no pool of their own:
//!   `offload_io` for all of it would do.

#[path = "common/lag.rs"]
mod lag;

use anyhow::{Result, ensure};
use futures::future::try_join_all;
use image::{ImageFormat, ImageReader, RgbImage};
use lag::lag_during;
use offramp::{offload_cpu, offload_io};
use rayon::prelude::*;
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

const PICTURES: u32 = 4;
const WIDTH: u32 = 640;
const HEIGHT: u32 = 480;
const SIZES: [u32; 3] = [64, 128, 256];

/// Decodes once, and makes all sizes at the same time.
fn thumbnails(encoded: &[u8]) -> Result<Vec<(u32, Vec<u8>)>> {
    let picture = image::load_from_memory(encoded)?;
    let one = |&size: &u32| {
        let mut encoded = Cursor::new(Vec::new());
        picture
            .thumbnail(size, size)
            .write_to(&mut encoded, ImageFormat::Png)?;
        Ok((size, encoded.into_inner()))
    };
    SIZES.par_iter().map(one).collect()
}

fn target(source: &Path, size: u32) -> PathBuf {
    source.with_extension(format!("{size}.png"))
}

async fn offloaded(source: PathBuf) -> Result<()> {
    let path = source.clone();
    let encoded = offload_io(move || fs::read(path)).await??;
    let made = offload_cpu(move || thumbnails(&encoded)).await??;
    let store = move || {
        made.iter()
            .try_for_each(|(size, encoded)| fs::write(target(&source, *size), encoded))
    };
    Ok(offload_io(store).must_run().await??)
}

async fn on_the_loop(source: &Path) -> Result<()> {
    for (size, encoded) in thumbnails(&fs::read(source)?)? {
        fs::write(target(source, size), encoded)?;
    }
    tokio::task::yield_now().await;
    Ok(())
}

fn draw(number: u32) -> RgbImage {
    RgbImage::from_fn(WIDTH, HEIGHT, |x, y| {
        let wave = (x * (number + 3) + y * y / 64) % 256;
        image::Rgb([
            wave as u8,
            (x * 255 / WIDTH) as u8,
            (y * 255 / HEIGHT) as u8,
        ])
    })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let sources: Vec<PathBuf> = (0..PICTURES)
        .map(|number| folder.path().join(format!("{number}.png")))
        .collect();
    for (number, source) in (0..).zip(&sources) {
        draw(number).save(source)?;
    }

    let (done, before) = lag_during(try_join_all(sources.iter().map(|s| on_the_loop(s)))).await;
    done?;
    for (source, size) in sources.iter().flat_map(|s| SIZES.map(|size| (s, size))) {
        fs::remove_file(target(source, size))?;
    }
    let (done, after) = lag_during(try_join_all(sources.iter().cloned().map(offloaded))).await;
    done?;

    for (source, size) in sources.iter().flat_map(|s| SIZES.map(|size| (s, size))) {
        let made = ImageReader::open(target(source, size))?.into_dimensions()?;
        let expected = (size, size * HEIGHT / WIDTH);
        ensure!(made == expected, "{made:?} instead of {expected:?}");
    }
    println!(
        "{PICTURES} pictures, {} sizes each, on the loop: late by {before:.0?}",
        SIZES.len()
    );
    println!(
        "{PICTURES} pictures, {} sizes each, offloaded:   late by {after:.0?}",
        SIZES.len()
    );
    ensure!(after < before / 2, "offloaded pictures hold up the loop");
    Ok(())
}
