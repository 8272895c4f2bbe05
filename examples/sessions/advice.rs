//! What to do about an error: the cause is found in its chain, whichever step it comes
//! from.

use std::error::Error;
use std::io::{self, ErrorKind};

use rusqlite::ErrorCode;

const FULL: &str = "the disk is full: free some space, or point --dir at another disk";
const FAILING: &str =
    "the disk is full, or failing: free some space, or point --dir at another disk";
const UNUSABLE: &str = "point --dir at a directory that exists and can be written to";
const SERVICE: &str = "is the service running at that address? Start one with --serve ADDR, or \
                       leave out --service to use the example's own";
const FILES: &str = "too many files are open: raise the limit (ulimit -n), or lower --sessions or \
                     --io-threads";

pub(crate) fn advice(error: &anyhow::Error) -> Option<&'static str> {
    error.chain().find_map(for_cause)
}

fn for_cause(cause: &(dyn Error + 'static)) -> Option<&'static str> {
    if let Some(error) = cause.downcast_ref::<ureq::Error>() {
        return match error {
            ureq::Error::Io(error) if too_many_files(error) => Some(FILES),
            _ => Some(SERVICE),
        };
    }
    if let Some(error) = cause.downcast_ref::<rusqlite::Error>() {
        return match error.sqlite_error_code()? {
            ErrorCode::DiskFull => Some(FULL),
            // This too can be a full disk: where SQLite meets it in its shared memory
            // file.
            ErrorCode::SystemIoFailure => Some(FAILING),
            ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied => {
                Some(UNUSABLE)
            }
            _ => None,
        };
    }
    let error = cause.downcast_ref::<io::Error>()?;
    match error.kind() {
        _ if too_many_files(error) => Some(FILES),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Some(FULL),
        ErrorKind::NotFound
        | ErrorKind::NotADirectory
        | ErrorKind::PermissionDenied
        | ErrorKind::ReadOnlyFilesystem => Some(UNUSABLE),
        ErrorKind::AddrInUse | ErrorKind::AddrNotAvailable => Some("give --serve another address"),
        _ => None,
    }
}

fn too_many_files(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}
