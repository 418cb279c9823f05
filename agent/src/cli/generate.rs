//! `lamplighter generate`: manual pages and shell completions from the command line's own description, for packages. Writes files
//! of manual pages into the folder named, completions to standard output.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, ValueEnum};
use clap_complete::Shell;

use super::{Cli, FAILED, GenerateArgs, complain};

/// The section of the manual: programs of the system's administrator.
const SECTION: &str = "8";

/// What to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum What {
    /// One page for the program and one for each command.
    Man,
    /// For bash.
    Bash,
    /// For zsh.
    Zsh,
    /// For fish.
    Fish,
}

pub(super) fn generate(args: &GenerateArgs) -> ExitCode {
    let outcome = match args.what {
        What::Man => pages(&args.folder),
        What::Bash => completions(Shell::Bash),
        What::Zsh => completions(Shell::Zsh),
        What::Fish => completions(Shell::Fish),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(format_args!("error: {}: {error}", args.folder.display()));
            ExitCode::from(FAILED)
        }
    }
}

fn completions(shell: Shell) -> io::Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "lamplighter", &mut text);
    io::stdout().lock().write_all(&text)
}

fn pages(folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let whole = command.clone().version(env!("CARGO_PKG_VERSION"));
    page(folder, "lamplighter", whole)?;
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        let name = format!("lamplighter-{}", sub.get_name());
        // the page's name is its title; clap wants names that live for ever, and this program does not
        page(folder, &name, sub.clone())?;
    }
    Ok(())
}

fn page(folder: &Path, name: &str, command: clap::Command) -> io::Result<()> {
    let man = clap_mangen::Man::new(command)
        .title(name)
        .section(SECTION)
        // no date: the same source makes the same page
        .date("");
    let mut text = Vec::new();
    man.render(&mut text)?;
    std::fs::write(folder.join(format!("{name}.{SECTION}")), text)
}
