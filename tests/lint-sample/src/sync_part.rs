//! Blocking functions, to be offloaded as a whole.
#![allow(clippy::disallowed_methods)]

use argon2::{Argon2, PasswordHash, PasswordVerifier};
use std::error::Error;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;

pub fn save(path: &Path, text: &str) -> io::Result<u64> {
    fs::create_dir_all("state")?;
    fs::write("state/copy", text)?;
    let file = File::open("state/copy")?;
    file.sync_all()?;
    fs::rename("state/copy", path)?;
    Ok(file.metadata()?.len())
}

pub fn tick() -> u32 {
    thread::sleep(Duration::from_secs(1));
    1
}

pub fn fetch(agent: &ureq::Agent) -> Result<String, Box<dyn Error + Send + Sync>> {
    let mut text = agent
        .get("http://localhost")
        .call()?
        .body_mut()
        .read_to_string()?;
    text.push_str(&reqwest::blocking::get("http://localhost")?.text()?);
    Ok(text)
}

pub fn forget() -> rusqlite::Result<usize> {
    rusqlite::Connection::open("turns.db")?.execute("DELETE FROM turns", [])
}

pub fn verify(password: &str, stored: &str) -> bool {
    PasswordHash::new(stored)
        .and_then(|stored| Argon2::default().verify_password(password.as_bytes(), &stored))
        .is_ok()
}
