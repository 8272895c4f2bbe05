//! Password hashing at login: argon2 in an axum handler.
//!
//! * The blocking call: `Argon2::default().verify_password(..)`, tens of milliseconds of CPU
//!   by design, for each login.
//! * The change: `offload_cpu(move || verify(password, &hash)).await`.
//! * Better: nothing. There is no async way to compute; it has to happen on another thread,
//!   and on no more threads than there are CPUs.

#[path = "common/lag.rs"]
mod lag;

use anyhow::{Result, ensure};
use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use futures::future::try_join_all;
use lag::lag_during;
use offramp::{offload_cpu, offload_io};
use std::sync::Arc;

const LOGINS: usize = 8;
const PASSWORD: &str = "correct horse battery staple";

/// The stored hash of the only user.
type Stored = Arc<str>;

/// Half of the default's memory: the example has to be quick also without optimisation.
fn argon2() -> Argon2<'static> {
    let params = Params::new(Params::DEFAULT_M_COST / 2, 1, 1, None).expect("in range");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

fn verify(password: &str, stored: &str) -> StatusCode {
    let parsed = PasswordHash::new(stored);
    match parsed.and_then(|hash| argon2().verify_password(password.as_bytes(), &hash)) {
        Ok(()) => StatusCode::OK,
        Err(_) => StatusCode::UNAUTHORIZED,
    }
}

async fn login_on_the_loop(State(stored): State<Stored>, password: String) -> StatusCode {
    verify(&password, &stored)
}

async fn login(State(stored): State<Stored>, password: String) -> StatusCode {
    let verdict = offload_cpu(move || verify(&password, &stored)).label("verify");
    verdict.await.unwrap_or(StatusCode::SERVICE_UNAVAILABLE)
}

/// Many at a time, every fourth with a wrong password.
async fn log_in(url: &str, path: &str) -> Result<()> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .build()
        .into();
    let answers = try_join_all((0..LOGINS).map(|number| {
        let (agent, url) = (agent.clone(), format!("{url}{path}"));
        let password = if number % 4 == 3 { "guess" } else { PASSWORD };
        offload_io(move || agent.post(&url).send(password))
    }))
    .await?;
    for (number, answer) in answers.into_iter().enumerate() {
        let expected = if number % 4 == 3 { 401 } else { 200 };
        let status = answer?.status();
        ensure!(status == expected, "login {number}: {status}");
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let salt = SaltString::encode_b64(b"of the one user").expect("a valid salt");
    let stored = argon2().hash_password(PASSWORD.as_bytes(), &salt);
    let stored: Stored = stored.expect("a valid password").to_string().into();
    let routes = Router::new()
        .route("/blocked", post(login_on_the_loop))
        .route("/login", post(login))
        .with_state(stored);
    // On the very loop whose lag is measured.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async { axum::serve(listener, routes).await });

    let (done, before) = lag_during(log_in(&url, "/blocked")).await;
    done?;
    let (done, after) = lag_during(log_in(&url, "/login")).await;
    done?;
    println!("{LOGINS} logins at once, verified on the loop: late by {before:.0?}");
    println!("{LOGINS} logins at once, offloaded:            late by {after:.0?}");
    ensure!(after < before / 2, "offloaded logins hold up the loop");
    Ok(())
}
