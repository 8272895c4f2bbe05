//! Each call marked as planted blocks the event loop.

use argon2::{Argon2, PasswordHash, PasswordVerifier};
use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::path::Path;
use std::process::{Child, Command};
use std::sync::mpsc::Receiver;
use std::thread::{self, JoinHandle};
use std::time::Duration;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

pub async fn files(path: &Path) -> Result<u64> {
    let text = fs::read_to_string(path)?; // planted
    fs::create_dir_all("state")?; // planted
    fs::write("state/copy", &text)?; // planted
    let file = File::open("state/copy")?; // planted
    file.sync_all()?; // planted
    let log = OpenOptions::new().append(true).open("log")?; // planted
    drop(log);
    let is_there = path.exists(); // planted
    if is_there {
        fs::rename("state/copy", path)?; // planted
    }
    Ok(file.metadata()?.len()) // planted
}

pub async fn threads(receiver: Receiver<u32>, thread: JoinHandle<()>) -> Result<u32> {
    thread::sleep(Duration::from_secs(1)); // planted
    let first = receiver.recv()?; // planted
    let rest: u32 = receiver.iter().sum(); // planted
    let _ = thread.join(); // planted
    Ok(first + rest)
}

pub async fn processes(mut child: Child) -> Result<bool> {
    let output = Command::new("true").output()?; // planted
    let status = Command::new("true").status()?; // planted
    let waited = child.wait()?; // planted
    Ok(output.status == status && status == waited)
}

pub async fn network(listener: TcpListener) -> Result<usize> {
    let addresses = "localhost:443".to_socket_addrs()?; // planted
    drop(TcpStream::connect("localhost:443")?); // planted
    drop(listener.accept()?); // planted
    Ok(addresses.count())
}

pub async fn http(agent: ureq::Agent, client: reqwest::blocking::Client) -> Result<String> {
    let mut response = agent.get("http://localhost").call()?; // planted
    let mut text = response.body_mut().read_to_string()?; // planted
    let response = client.get("http://localhost").send()?; // planted
    text.push_str(&response.text()?); // planted
    Ok(text)
}

pub async fn database() -> Result<usize> {
    let connection = rusqlite::Connection::open("turns.db")?; // planted
    let changed = connection.execute("DELETE FROM turns", [])?; // planted
    Ok(changed)
}

pub async fn login(password: &str, stored: &str) -> Result<bool> {
    let stored = PasswordHash::new(stored).map_err(|error| error.to_string())?;
    let verdict = Argon2::default().verify_password(password.as_bytes(), &stored); // planted
    Ok(verdict.is_ok())
}
