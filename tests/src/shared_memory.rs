//! The segment of System V shared memory by which a PostgreSQL server marks its data directory as in use.
//!
//! The kernel keeps it when the server is killed, and has room for 4,096 of them: tests that kill servers would fill a machine
//! within some days, after which no PostgreSQL starts on it any more. So who kills a server removes its segment, and a server
//! that finds no room removes what others left who were killed together with their watchdogs.

use std::path::Path;
use std::process::{Command, Stdio};

/// Bytes of the segment on a 64-bit Linux: PostgreSQL's `PGShmemHeader`. All else of its memory is mapped, and goes with it.
const BYTES: &str = "56";

/// What PostgreSQL logs when the kernel has no room for another segment.
pub(crate) const NO_ROOM: &str = "could not create shared memory segment: No space left on device";

/// Lines for a shell that remove the segment of the server that was killed in the directory `$1`, if there was one: its pid
/// file's seventh line has the segment's key and number.
pub(crate) const REMOVE: &str = r#"
segment=$(sed -n '7s/.* //p' "$1/data/postmaster.pid" 2>/dev/null)
[ -z "$segment" ] || ipcrm -m "$segment" 2>/dev/null
"#;

/// Removes the segment of the server that was killed in this directory.
pub(crate) fn remove(instance: &Path) {
    let mut command = Command::new("sh");
    command.args(["-c", REMOVE, "remove"]).arg(instance);
    // What is gone already is no failure.
    let _ = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
}

/// Removes segments of servers of this user (`nobody` for root) that are gone: nobody is attached, nor lives who made them.
pub(crate) fn remove_abandoned(user: u32) {
    let listed = std::fs::read_to_string("/proc/sysvipc/shm").unwrap_or_default();
    let abandoned: Vec<&str> = listed.lines().filter_map(|line| abandoned(line, user)).collect();
    for some in abandoned.chunks(500) {
        let arguments = some.iter().flat_map(|segment| ["-m", segment]);
        let _ = Command::new("ipcrm").args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

/// The number of the segment in a line of `/proc/sysvipc/shm`, if it is one that a dead server of this user left.
fn abandoned(line: &str, user: u32) -> Option<&str> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [_key, segment, _mode, bytes, maker, _last, attached, owner, ..] = fields[..] else { return None };
    // A maker of another process namespace is shown as 0.
    let gone = maker != "0" && !Path::new("/proc").join(maker).exists();
    (bytes == BYTES && attached == "0" && owner.parse() == Ok(user) && gone).then_some(segment)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::{PostgresServer, PostgresVersion};

    fn exists(segment: &str) -> bool {
        let listed = std::fs::read_to_string("/proc/sysvipc/shm").expect("the kernel has System V shared memory");
        listed.lines().any(|line| line.split_whitespace().nth(1) == Some(segment))
    }

    fn pid_file(data: &Path) -> String {
        std::fs::read_to_string(data.join("postmaster.pid")).expect("a running server has a pid file")
    }

    fn process(data: &Path) -> String {
        pid_file(data).lines().next().expect("its first line is the process").to_owned()
    }

    fn segment(data: &Path) -> String {
        pid_file(data).lines().nth(6).and_then(|line| line.split_whitespace().nth(1)).expect("its seventh line has two numbers").to_owned()
    }

    #[tokio::test]
    async fn a_killed_server_leaves_no_shared_memory_neither_before_its_restart_nor_in_the_end() {
        let mut server = PostgresServer::start(PostgresVersion::V17).await;
        let first = segment(&server.data_dir());
        assert!(exists(&first));
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", process(&server.data_dir()))).expect("the server runs");
        assert!(maps.contains("pg_dynshmem/") && !maps.contains("/dev/shm/"), "{maps}");
        server.kill().await;
        assert!(!exists(&first));

        server.restart().await;
        let second = segment(&server.data_dir());
        assert!(exists(&second));
        drop(server);
        assert!(!exists(&second));
    }

    /// Other processes' tests may remove it too, at any time after the kill.
    #[tokio::test]
    async fn what_a_server_left_that_died_with_its_watchdog_can_be_removed() {
        let mut server = PostgresServer::start(PostgresVersion::V17).await;
        let user = std::fs::metadata(server.data_dir()).expect("the server has a directory").uid();
        let left = segment(&server.data_dir());
        remove_abandoned(user);
        assert!(exists(&left), "its server runs");

        std::fs::remove_file(server.data_dir().join("postmaster.pid")).expect("the server has a pid file");
        server.kill().await;
        remove_abandoned(user);
        assert!(!exists(&left));
    }

    #[test]
    fn memory_of_others_or_in_use_is_not_abandoned() {
        // No process has this number: the kernel's largest is 4194304.
        let line = "11103793 42 3600 56 4194305 4194305 0 65534 65534 65534 65534 0 0 0 4096 0";
        assert_eq!(abandoned(line, 65534), Some("42"));
        assert_eq!(abandoned(line, 0), None);
        for (field, kept) in [(3, "57"), (4, &*std::process::id().to_string()), (4, "0"), (6, "1")] {
            let mut fields: Vec<&str> = line.split(' ').collect();
            fields[field] = kept;
            assert_eq!(abandoned(&fields.join(" "), 65534), None, "field {field}");
        }
    }
}
