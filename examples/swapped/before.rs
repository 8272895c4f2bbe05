//! A notes service on axum, as such services are: blocking libraries (SQLite, files, argon2,
//! a sync HTTP client) inside of `tokio::task::spawn_blocking`.

use argon2::password_hash::{self, PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{BoxError, Router};
use rusqlite::{Connection, OptionalExtension};
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::{JoinError, spawn_blocking};

#[derive(Clone)]
struct Service {
    db: Arc<Mutex<Connection>>,
    exports: PathBuf,
    argon2: Argon2<'static>,
    /// Asked whether a note may be published.
    checker: String,
    client: ureq::Agent,
}

impl Service {
    fn path(&self, name: &str) -> Result<PathBuf, AppError> {
        if name.chars().all(char::is_alphanumeric) {
            Ok(self.exports.join(format!("{name}.txt")))
        } else {
            Err(AppError::new(StatusCode::NOT_FOUND, "no such user"))
        }
    }
}

/// The service, with its database and files in `folder`.
pub(crate) fn app(folder: PathBuf, checker: String, cost: Params) -> Result<Router, BoxError> {
    let db = Connection::open(folder.join("notes.db"))?;
    db.execute_batch(
        "CREATE TABLE IF NOT EXISTS users (name TEXT PRIMARY KEY, hash TEXT NOT NULL);
         CREATE TABLE IF NOT EXISTS notes (id INTEGER PRIMARY KEY, user TEXT, text TEXT)",
    )?;
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(5)))
        .build();
    let service = Service {
        db: Arc::new(Mutex::new(db)),
        exports: folder,
        argon2: Argon2::new(Algorithm::Argon2id, Version::V0x13, cost),
        checker,
        client: config.into(),
    };
    Ok(Router::new()
        .route("/users/{name}", post(add_user))
        .route("/notes/{name}", post(add_note).get(notes))
        .route("/similar", get(similar))
        .route("/exports/{name}", post(export).get(exported))
        .with_state(service))
}

/// The body is the password.
async fn add_user(
    State(service): State<Service>,
    Path(name): Path<String>,
    password: String,
) -> Result<StatusCode, AppError> {
    let hash = spawn_blocking(move || {
        let salt = random_salt()?;
        let hash = service.argon2.hash_password(password.as_bytes(), &salt)?;
        Ok::<_, AppError>(hash.to_string())
    })
    .await??;
    let db = service.db;
    let added = spawn_blocking(move || {
        let db = db.lock().unwrap();
        db.execute("INSERT OR IGNORE INTO users VALUES (?, ?)", [name, hash])
    })
    .await??;
    match added {
        0 => Err(AppError::new(StatusCode::CONFLICT, "the name is taken")),
        _ => Ok(StatusCode::CREATED),
    }
}

fn random_salt() -> Result<SaltString, AppError> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(SaltString::encode_b64(&bytes)?)
}

/// The body is the text; the password is a header.
async fn add_note(
    State(service): State<Service>,
    Path(name): Path<String>,
    headers: HeaderMap,
    text: String,
) -> Result<StatusCode, AppError> {
    let db = Arc::clone(&service.db);
    let user = name.clone();
    let hash = spawn_blocking(move || {
        let db = db.lock().unwrap();
        let query = "SELECT hash FROM users WHERE name = ?";
        db.query_row(query, [user], |row| row.get::<_, String>(0))
            .optional()
    })
    .await??;
    let denied = || AppError::new(StatusCode::FORBIDDEN, "wrong name or password");
    let password = headers.get("password").cloned();
    let (hash, password) = hash.zip(password).ok_or_else(denied)?;
    let argon2 = service.argon2;
    let is_right = spawn_blocking(move || {
        let hash = PasswordHash::new(&hash)?;
        Ok::<_, password_hash::Error>(argon2.verify_password(password.as_bytes(), &hash).is_ok())
    })
    .await??;
    if !is_right {
        return Err(denied());
    }

    let (client, url, asked) = (service.client, service.checker, text.clone());
    let verdict = spawn_blocking(move || {
        let mut answer = client.post(&url).send(asked)?;
        answer.body_mut().read_to_string()
    })
    .await??;
    if verdict != "fine" {
        return Err(AppError::new(StatusCode::UNPROCESSABLE_ENTITY, verdict));
    }

    let db = service.db;
    spawn_blocking(move || {
        let db = db.lock().unwrap();
        let insert = "INSERT INTO notes (user, text) VALUES (?, ?)";
        db.execute(insert, [name, text])
    })
    .await??;
    Ok(StatusCode::CREATED)
}

/// A line for each note.
async fn notes(
    State(service): State<Service>,
    Path(name): Path<String>,
) -> Result<String, AppError> {
    let db = service.db;
    Ok(spawn_blocking(move || notes_of(&db.lock().unwrap(), &name)).await??)
}

fn notes_of(db: &Connection, name: &str) -> rusqlite::Result<String> {
    let mut select = db.prepare("SELECT text || char(10) FROM notes WHERE user = ? ORDER BY id")?;
    let texts = select.query_map([name], |row| row.get::<_, String>(0))?;
    texts.collect()
}

/// How many pairs of notes begin alike: slow, because it compares each with each.
async fn similar(State(service): State<Service>) -> Result<String, AppError> {
    let db = service.db;
    let pairs = spawn_blocking(move || {
        let db = db.lock().unwrap();
        let query = "SELECT count(*) FROM notes a, notes b \
                     WHERE a.id < b.id AND instr(a.text, substr(b.text, 1, 8)) = 1";
        db.query_row(query, [], |row| row.get::<_, i64>(0))
    })
    .await??;
    Ok(pairs.to_string())
}

/// Saves a user's notes as a file.
async fn export(
    State(service): State<Service>,
    Path(name): Path<String>,
) -> Result<StatusCode, AppError> {
    let path = service.path(&name)?;
    let db = service.db;
    let text = spawn_blocking(move || notes_of(&db.lock().unwrap(), &name)).await??;
    spawn_blocking(move || std::fs::write(path, text)).await??;
    Ok(StatusCode::CREATED)
}

async fn exported(
    State(service): State<Service>,
    Path(name): Path<String>,
) -> Result<String, AppError> {
    let path = service.path(&name)?;
    Ok(spawn_blocking(move || std::fs::read_to_string(path)).await??)
}

struct AppError {
    status: StatusCode,
    text: String,
}

impl AppError {
    fn new(status: StatusCode, text: impl ToString) -> Self {
        let text = text.to_string();
        Self { status, text }
    }
}

impl IntoResponse for AppError {
    fn into_response(self) -> Response {
        (self.status, self.text).into_response()
    }
}

impl From<io::Error> for AppError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::new(StatusCode::NOT_FOUND, "no such export"),
            _ => Self::new(StatusCode::INTERNAL_SERVER_ERROR, error),
        }
    }
}

impl From<JoinError> for AppError {
    fn from(error: JoinError) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, error)
    }
}

impl From<rusqlite::Error> for AppError {
    fn from(error: rusqlite::Error) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, error)
    }
}

impl From<password_hash::Error> for AppError {
    fn from(error: password_hash::Error) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, error)
    }
}

impl From<ureq::Error> for AppError {
    fn from(error: ureq::Error) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, error)
    }
}
