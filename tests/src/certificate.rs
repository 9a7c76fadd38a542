//! Keys and certificates for private servers, made by the program openssl.

use std::path::Path;
use std::process::Command;

use crate::binaries::running_as_root;
use crate::instance::set_mode;
use crate::template::run;

/// Writes `server.key` and `server.crt` for 127.0.0.1 into a directory, signed by an authority that is made for them and whose PEM is
/// returned.
pub(crate) fn write(dir: &Path) -> String {
    let work = tempfile::tempdir().expect("a temporary directory can be made");
    let request = |arguments: &[&str]| {
        let mut command = Command::new("openssl");
        command.current_dir(work.path()).args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "30",
        ]);
        run(command.args(arguments));
    };
    request(&["-keyout", "authority.key", "-out", "authority.crt", "-subj", "/CN=an authority of the tests"]);
    let name =
        ["-subj", "/CN=a server of the tests", "-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"];
    let signed = ["-keyout", "server.key", "-out", "server.crt", "-CA", "authority.crt", "-CAkey", "authority.key"];
    request(&[&name[..], &signed[..]].concat());
    for file in ["server.key", "server.crt"] {
        let path = dir.join(file);
        std::fs::copy(work.path().join(file), &path).unwrap_or_else(|error| panic!("write {}: {error}", path.display()));
        set_mode(&path, 0o600);
        if running_as_root() {
            run(Command::new("chown").arg("nobody:nogroup").arg(&path));
        }
    }
    std::fs::read_to_string(work.path().join("authority.crt")).expect("openssl has written it")
}
