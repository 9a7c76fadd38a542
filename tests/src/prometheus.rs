//! A private Prometheus that scrapes one server, and `promtool`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::instance::Instance;
use crate::lease::Lease;
use crate::process::{Tidegate, exchange};

/// How long it may take until it is ready, on a busy machine.
const START: Duration = Duration::from_secs(60);

/// A running Prometheus; dropping it ends the process and removes its data.
#[derive(Debug)]
pub struct Prometheus {
    instance: Instance,
    lease: Lease,
}

impl Prometheus {
    /// Scrapes the server every second, as the job `tidegate`, and evaluates the rules of a file.
    pub async fn scraping(host: &Tidegate, rules: &Path) -> Prometheus {
        let mut prometheus = Prometheus { instance: Instance::new("prometheus"), lease: Lease::port_only() };
        let config = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\n\
             rule_files: [\"{}\"]\n\
             scrape_configs: [{{job_name: tidegate, static_configs: [{{targets: [\"127.0.0.1:{}\"]}}]}}]\n",
            rules.display(),
            host.port()
        );
        let dir = prometheus.instance.dir().to_owned();
        let file = dir.join("prometheus.yml");
        std::fs::write(&file, config).expect("the instance's directory is writable");
        let mut command = Command::new(program("prometheus"));
        command.arg(format!("--config.file={}", file.display()));
        command.arg(format!("--storage.tsdb.path={}", dir.join("data").display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{}", prometheus.lease.port));
        prometheus.instance.spawn(command);
        let since = Instant::now();
        while prometheus.instance.running() && since.elapsed() < START {
            let answer = exchange("GET", &format!("{}/-/ready", prometheus.url()), None).await;
            if answer.is_ok_and(|answer| answer.status == 200) {
                return prometheus;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("prometheus did not become ready:\n{}", prometheus.instance.log_tail());
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.lease.port)
    }

    /// The samples of an instant query.
    ///
    /// # Errors
    /// What Prometheus has to say to an expression that it does not understand.
    pub async fn query(&self, expression: &str) -> Result<Vec<Value>, String> {
        let url = format!("{}/api/v1/query?query={}", self.url(), percent_encoded(expression));
        let answer = exchange("GET", &url, None).await?;
        match &answer.body["data"]["result"] {
            Value::Array(samples) => Ok(samples.clone()),
            _ => Err(format!("{expression}: {}", answer.body)),
        }
    }
}

/// Runs `promtool` in a directory.
pub fn promtool(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(program("promtool")).args(arguments).current_dir(dir).output().expect("promtool can be started")
}

fn program(name: &str) -> PathBuf {
    let path = crate::cache_dir().join("prometheus/usr/bin").join(name);
    assert!(path.exists(), "{} is not installed; install the test servers with: cargo xtask setup", path.display());
    path
}

fn percent_encoded(text: &str) -> String {
    text.bytes().map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
