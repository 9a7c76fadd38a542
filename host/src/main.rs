//! The `tidegate` process: command line, configuration, scheduler and API, wired together.
//!
//! ```text
//!   cli ─▶ serve ─▶ catalog ◀─▶ scheduler ─▶ pipeline ◀─▶ connectors, sandbox
//!    │       └────▶ API ──▶ catalog
//!    ├──▶ run, check ─▶ pipeline (no catalog)          task, module ─▶ HTTP to a server
//!    └──▶ tenant ─▶ catalog
//! ```
//!
//! Only this package knows all the others. It holds no rule about rows: those are in the pipeline and below it.

mod characters_form;
mod cli;
mod client;
mod config;
mod connectors;
mod control_tables_form;
mod data_dir;
mod display;
mod endpoint;
mod exit;
mod findings;
mod logging;
mod loopback_form;
mod machine;
mod metric;
mod module_command;
mod module_project;
mod module_settings;
mod module_test;
mod modules;
mod row_errors_form;
mod run;
mod run_settings_form;
mod scheduler;
mod serve;
mod signals;
mod simulate;
mod task_file;
mod tenant_command;
mod values_form;

use std::process::ExitCode;

use clap::Parser;

use cli::{CapacityArgs, CapacityCommand, Cli, Command, LogArgs, LogFormat, LogLevel};
use config::ServeSettings;
use exit::{Exit, Failure};
use rustix::process::{getpriority_process, setpriority_process};
use tidegate_pipeline::Planes;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if matches!(cli.command, Command::CompileModule) {
        // A process of its own with the sandbox's exit codes; nothing of ours is started in it.
        return ExitCode::from(u8::try_from(tidegate_sandbox::helper_main()).unwrap_or(1));
    }
    match dispatch(cli) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            eprintln!("error: {}", failure.message);
            if let Some(hint) = &failure.hint {
                eprintln!(" hint: {hint}");
            }
            failure.exit.into()
        }
    }
}

fn dispatch(cli: Cli) -> Result<Exit, Failure> {
    match cli.command {
        Command::Serve(args) => {
            let settings = ServeSettings::new(args, &cli.log)?;
            start_log(settings.log_level, settings.log_format);
            // Of this thread: those that the runtime starts later begin with the niceness of who starts them.
            let niceness = getpriority_process(None).map_or(0, |usual| (usual + i32::from(settings.control_niceness)).min(19));
            // What follows logs has threads of its own, so that no change waits behind the starts of other tasks.
            let control = threads("control").on_thread_start(move || give_precedence(niceness)).build().map_err(no_runtime)?;
            let data = runtime("data")?;
            let planes = Planes { control: control.handle().clone(), data: data.handle().clone() };
            control.block_on(serve::serve(settings, planes))
        }
        Command::Run(args) => {
            start_quiet_log(&cli.log);
            runtime("run")?.block_on(run::run(args))
        }
        Command::Check(args) => {
            start_quiet_log(&cli.log);
            runtime("check")?.block_on(run::check(args))
        }
        Command::Task(args) => client::task(&args),
        Command::Module(args) => {
            start_quiet_log(&cli.log);
            module_command::module(args)
        }
        Command::Tenant(args) => runtime("tenant")?.block_on(tenant_command::tenant(args)),
        Command::Capacity(CapacityArgs { command: CapacityCommand::Simulate(args) }) => simulate::simulate(&args),
        Command::CompileModule => unreachable!("handled before anything is started"),
    }
}

fn start_quiet_log(log: &LogArgs) {
    start_log(log.log_level.unwrap_or(LogLevel::Warn), log.log_format.unwrap_or(LogFormat::Human));
}

fn start_log(level: LogLevel, format: LogFormat) {
    logging::start(level, format);
    logging::hide_values_in_panics();
}

/// `name`: that of its threads, which tools that list threads show.
fn runtime(name: &str) -> Result<tokio::runtime::Runtime, Failure> {
    threads(name).build().map_err(no_runtime)
}

fn threads(name: &str) -> tokio::runtime::Builder {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.enable_all().thread_name(name);
    builder
}

fn no_runtime(error: std::io::Error) -> Failure {
    Failure::environment("runtime", format!("start the runtime: {error}"))
}

/// Gives all threads of a lower niceness precedence over this one and those that it starts.
fn give_precedence(niceness: i32) {
    // To Linux no process means this thread. Where it is forbidden, the thread goes on at its usual priority.
    let _ = setpriority_process(None, niceness);
}
