//! Stands for a vendor's SDK: a client of a language model that has only sync calls,
//! knows nothing of async, and cannot be changed. Nothing in here is aware of the rest of
//! the example.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead, BufReader};

pub(crate) struct Client {
    agent: ureq::Agent,
    url: String,
}

pub(crate) struct Request<'a> {
    pub(crate) session: usize,
    pub(crate) prompt: &'a str,
    /// How often this request has been tried before; sent along, as vendors' clients do.
    pub(crate) retries: u32,
}

#[derive(Debug)]
pub(crate) enum Error {
    /// No connection, or one that broke before the answer began.
    Unreachable(Box<ureq::Error>),
    /// The service has too much to do; later may be better.
    Overloaded(u16),
    /// The service will not answer this request, however often it is sent.
    Rejected(u16),
    /// The stream ended before the answer did.
    CutOff { tokens: usize },
}

impl Client {
    pub(crate) fn new(agent: ureq::Agent, base: &str) -> Client {
        Client {
            agent,
            url: format!("{}/complete", base.trim_end_matches('/')),
        }
    }

    /// Asks, and blocks until the whole answer has come; `on_token` sees it word by word
    /// as it comes.
    pub(crate) fn complete(
        &self,
        request: &Request<'_>,
        mut on_token: impl FnMut(&str),
    ) -> Result<(), Error> {
        let session = request.session.to_string();
        let body = BTreeMap::from([("session", session.as_str()), ("prompt", request.prompt)]);
        let response = self
            .agent
            .post(&self.url)
            .header("x-retry-count", request.retries.to_string())
            .send_json(&body)
            .map_err(|error| match error {
                ureq::Error::StatusCode(status @ (429 | 500..)) => Error::Overloaded(status),
                ureq::Error::StatusCode(status) => Error::Rejected(status),
                other => Error::Unreachable(Box::new(other)),
            })?;
        let mut tokens = 0;
        for line in BufReader::new(response.into_body().into_reader()).lines() {
            let Ok(line) = line else { break };
            match line.strip_prefix("data: ") {
                Some("[DONE]") => return Ok(()),
                Some(token) => {
                    tokens += 1;
                    on_token(token);
                }
                None => {}
            }
        }
        Err(Error::CutOff { tokens })
    }
}

impl Error {
    /// Whether the same request may well succeed a little later.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(self, Error::Overloaded(_) | Error::CutOff { .. })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Unreachable(_) => write!(f, "the model cannot be reached"),
            Error::Overloaded(status) => write!(f, "the model is overloaded (status {status})"),
            Error::Rejected(status) => {
                write!(f, "the model rejected the request (status {status})")
            }
            Error::CutOff { tokens } => write!(f, "the answer broke off after {tokens} tokens"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Unreachable(error) => Some(&**error),
            _ => None,
        }
    }
}
