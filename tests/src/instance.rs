//! One server process with its directory, whatever server it is.
//!
//! Three things end an instance: its value is dropped, the test's process dies, or the test asks for it. The second is
//! why every instance has a watchdog, a shell in a process group of its own that reads process ids from a pipe: when
//! the pipe closes, because the other end is gone, it kills the last process it was told of and deletes the directory.
//! So neither a killed test nor Ctrl-C leaves a server or a directory behind.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::shared_memory;

/// What the watchdog does; the function it calls is [`shared_memory::REMOVE`].
const WATCH: &str = r#"
pid=-
while read -r line; do pid=$line; done
[ "$pid" = - ] || kill -KILL "$pid" 2>/dev/null
remove_shared_memory "$1"
# The children of a killed PostgreSQL take a moment to notice, and may still create files.
for _ in 1 2 3 4 5 6 7 8 9 10; do rm -rf "$1" 2>/dev/null && [ ! -e "$1" ] && exit; sleep 0.2; done
"#;

/// Lets the threads of a process, or one thread, and what they start run on these processors only (`taskset`'s list).
pub(crate) fn keep_to(processors: &str, id: u32, threads: bool) -> bool {
    let all: &[&str] = if threads { &["--all-tasks"] } else { &[] };
    let mut command = Command::new("taskset");
    command.args(all).args(["--pid", "--cpu-list", processors, &id.to_string()]);
    let done = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    done.expect("taskset is there on every system").success()
}

/// What a signal is for; the names are the shell's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    Kill,
    Term,
    Interrupt,
    Stop,
    Continue,
}

/// A directory and, most of the time, the process that works in it.
#[derive(Debug)]
pub(crate) struct Instance {
    dir: PathBuf,
    process: Option<Child>,
    watchdog: Child,
    watchdog_input: Option<ChildStdin>,
}

impl Instance {
    /// An instance without a process, in a new directory that any user may enter.
    pub(crate) fn new(name: &str) -> Instance {
        let dir = tempfile::Builder::new().prefix(&format!("tidegate-{name}-")).tempdir().expect("the temporary directory is writable");
        // From here on the watchdog is the one who deletes it.
        let dir = dir.keep();
        set_mode(&dir, 0o755);
        let mut watchdog = Command::new("sh")
            .args(["-c", &format!("remove_shared_memory() {{ {} }}\n{WATCH}", shared_memory::REMOVE), "watchdog"])
            .arg(&dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("sh is there on every system");
        let watchdog_input = watchdog.stdin.take();
        Instance { dir, process: None, watchdog, watchdog_input }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn log_path(&self) -> PathBuf {
        self.dir.join("server.log")
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read(self.log_path()).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// The last lines of the log, for a panic's message.
    pub(crate) fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// Starts the process; its output goes to the log.
    pub(crate) fn spawn(&mut self, mut command: Command) {
        let log = self.open_log();
        self.launch(command.stdin(Stdio::null()).stdout(log));
    }

    /// Starts a process that is talked to over its standard input and output; its errors go to the log.
    pub(crate) fn spawn_with_pipes(&mut self, mut command: Command) -> (ChildStdin, ChildStdout) {
        self.launch(command.stdin(Stdio::piped()).stdout(Stdio::piped()));
        let process = self.process.as_mut().expect("it was just started");
        process.stdin.take().zip(process.stdout.take()).expect("both were asked for")
    }

    fn launch(&mut self, command: &mut Command) {
        assert!(self.process.is_none(), "the process of {} is already running", self.dir.display());
        let process = command.stderr(self.open_log()).process_group(0).spawn();
        let process = process.unwrap_or_else(|error| panic!("start {:?}: {error}", command.get_program()));
        self.tell_watchdog(&process.id().to_string());
        self.process = Some(process);
    }

    pub(crate) fn process_id(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// From now on the process, and what it starts, keeps to these processors.
    pub(crate) fn keep_to(&self, processors: &str) {
        let process = self.process.as_ref().expect("the process runs").id();
        // Children that come later are as their parent is, and one that is there may have just ended.
        assert!(keep_to(processors, process, true), "one's own processes can be bound to processors");
        for child in children_of(process) {
            keep_to(processors, child, true);
        }
    }

    /// True while the process runs.
    pub(crate) fn running(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| matches!(process.try_wait(), Ok(None)))
    }

    /// Sends a signal to the process, if there is one.
    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(process) = &self.process {
            send(signal, &[process.id()]);
        }
    }

    /// Waits for the process to end after a signal, and panics with the log when it does not.
    pub(crate) async fn ended(&mut self, timeout: Duration) -> Option<std::process::ExitStatus> {
        let process = self.process.as_mut()?;
        let since = Instant::now();
        loop {
            if let Some(status) = process.try_wait().expect("the process is our child") {
                self.process = None;
                self.tell_watchdog("-");
                return Some(status);
            }
            assert!(since.elapsed() < timeout, "the server did not stop within {} s:\n{}", timeout.as_secs(), self.log_tail());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Kills the process and its children with SIGKILL. When it returns, all are gone.
    pub(crate) fn kill(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        let mut family = vec![process.id()];
        family.extend(children_of(process.id()));
        send(Signal::Kill, &family);
        // It cannot fail for a child of ours that is not yet waited for.
        let _ = process.wait();
        let since = Instant::now();
        while family[1..].iter().any(|pid| alive(*pid)) && since.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.tell_watchdog("-");
    }

    fn open_log(&self) -> File {
        let path = self.log_path();
        OpenOptions::new().create(true).append(true).open(&path).unwrap_or_else(|error| panic!("open {}: {error}", path.display()))
    }

    fn tell_watchdog(&mut self, line: &str) {
        if let Some(input) = &mut self.watchdog_input {
            writeln!(input, "{line}").expect("the watchdog lives until its pipe closes");
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.kill();
        self.watchdog_input = None;
        let _ = self.watchdog.wait();
    }
}

/// Sends a signal through the shell: the standard library has only SIGKILL.
fn send(signal: Signal, pids: &[u32]) {
    let name = match signal {
        Signal::Kill => "KILL",
        Signal::Term => "TERM",
        Signal::Interrupt => "INT",
        Signal::Stop => "STOP",
        Signal::Continue => "CONT",
    };
    let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
    let script = format!("kill -{name} {} 2>/dev/null", pids.join(" "));
    // A process that ended in between is no failure.
    let _ = Command::new("sh").args(["-c", &script]).status();
}

/// The living children of a process. PostgreSQL puts each of them into a session of its own, so that a signal to
/// the server's process group would not reach them.
fn children_of(pid: u32) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|child| stat_fields(*child).is_some_and(|(_, parent)| parent == pid)).collect()
}

fn alive(pid: u32) -> bool {
    stat_fields(pid).is_some_and(|(state, _)| state != 'Z')
}

/// State and parent of a process. The name before them is in parentheses and may hold anything, parentheses too.
fn stat_fields(pid: u32) -> Option<(char, u32)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

pub(crate) fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .unwrap_or_else(|error| panic!("chmod {}: {error}", path.display()));
}
