//! A process that is killed in the midst of a save leaves the old content or the new one.

use super::{save, temporary_files};
use crate::common::{PATIENCE, Random, watchdog};
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

const KILLS: u32 = 60;
const SEED: u64 = 0xdead_5a7e;
/// Names the file, and makes this test the process that is killed.
const VICTIM: &str = "OFFRAMP_TESTS_VICTIM";
const READY: &str = "the first save is done";

fn contents(round: u8) -> Vec<u8> {
    vec![b'a' + round % 2; (1 << 20) + usize::from(round % 2) * 12_345]
}

/// Saves until it is killed.
fn save_for_ever(path: &Path) {
    let start = Instant::now();
    save(path, contents(1)).unwrap();
    println!("\n{READY}");
    for round in (0..2).cycle() {
        save(path, contents(round)).unwrap();
        // Should the one who is to kill it be gone.
        assert!(start.elapsed() < PATIENCE);
    }
}

#[test]
fn a_killed_process_leaves_one_content_whole() {
    if let Some(path) = env::var_os(VICTIM) {
        return save_for_ever(Path::new(&path));
    }
    let _watchdog = watchdog("processes that are killed");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    save(&path, contents(0)).unwrap();
    let mut random = Random(SEED);
    let mut found_in_the_midst = 0;
    for kill in 0..KILLS {
        let mut victim = Command::new(env::current_exe().unwrap())
            .args([
                "crash::a_killed_process_leaves_one_content_whole",
                "--exact",
            ])
            .args(["--nocapture", "--test-threads=1"])
            .env(VICTIM, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(victim.stdout.take().unwrap()).lines();
        let ready = output.any(|line| line.unwrap() == READY);
        assert!(ready, "the victim saves");
        thread::sleep(Duration::from_micros(random.below(20_000)));
        victim.kill().unwrap();
        let killed = victim.wait().unwrap();
        assert_eq!(killed.signal(), Some(libc::SIGKILL), "it saved to its end");
        let saved = fs::read(&path).unwrap();
        assert!(
            (0..2).any(|round| saved == contents(round)),
            "kill {kill}, seed {SEED:#x}: {} bytes",
            saved.len()
        );
        found_in_the_midst += remove_left(directory.path());
    }
    assert!(found_in_the_midst > 0, "no kill hit a save");
}

/// What the dead process could not remove is there, under the name that is documented.
fn remove_left(directory: &Path) -> usize {
    let left: Vec<PathBuf> = temporary_files(directory);
    assert!(left.len() <= 1, "{left:?}");
    for path in &left {
        let name = path.file_name().unwrap().as_bytes();
        assert!(name.starts_with(b".file."), "{left:?}");
        assert_eq!(name.len(), ".file.XXXXXX.tmp".len(), "{left:?}");
        fs::remove_file(path).unwrap();
    }
    left.len()
}
