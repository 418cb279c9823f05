//! What `lamplighter generate` makes for shells, tried in the shells themselves.

use std::path::Path;
use std::process::Command;

use super::{BINARY, run, text};
use crate::support::programs;
use crate::support::scratch::Scratch;

/// The word that is begun, and what it becomes.
const BEGUN: &str = "lamplighter drai";
const WHOLE: &str = "drain";

/// The completions for `shell`, in the file that it looks for.
fn generated(scratch: &Scratch, shell: &str, file: &str) {
    let made = run(&["generate", shell]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    scratch.write(file, made.stdout);
}

/// What a script in `shell` prints, run beside the completions.
#[track_caller]
fn said(shell: &str, options: &[&str], script: &str, folder: &Path) -> String {
    let output = Command::new(programs::find(shell, "shells"))
        .args(options)
        .args(["-c", script])
        .current_dir(folder)
        .env("TERM", "dumb")
        .env("HOME", folder)
        .output()
        .expect("the shell runs");
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success(), "{shell}: {said}");
    said
}

#[test]
fn bash_completes_commands() {
    let scratch = Scratch::new("bash");
    generated(&scratch, "bash", "lamplighter.bash");
    let script = "source ./lamplighter.bash; COMP_WORDS=(lamplighter drai) COMP_CWORD=1; \
        _lamplighter lamplighter drai lamplighter; echo \"${COMPREPLY[@]}\"";
    let said = said("bash", &["--norc"], script, scratch.path());
    assert_eq!(said.trim(), WHOLE);
}

#[test]
fn fish_completes_commands() {
    let scratch = Scratch::new("fish");
    generated(&scratch, "fish", "lamplighter.fish");
    let script = format!("source lamplighter.fish; complete -C '{BEGUN}'");
    let said = said("fish", &["--no-config"], &script, scratch.path());
    assert!(said.starts_with(WHOLE), "{said}");
}

#[test]
fn zsh_completes_commands() {
    let scratch = Scratch::new("zsh");
    generated(&scratch, "zsh", "_lamplighter");
    // a shell on a terminal of its own, because only its line editor completes; it ends with the one that asks
    let script = format!(
        "zmodload zsh/zpty; zpty shell zsh -f -i
         zpty -w shell \"fpath=($PWD \\$fpath); autoload -U compinit; compinit -u -D; echo r''eady\"
         zpty -r -m shell said '*ready*' || exit 1
         zpty -n -w shell $'{BEGUN}\\t'
         zpty -r -m shell said '*lamplighter {WHOLE} *' || exit 1
         zpty -d shell"
    );
    said("zsh", &["-f"], &script, scratch.path());
}

/// A name that belongs to nothing of ours completes to nothing: the scripts do not just echo.
#[test]
fn no_shell_invents_a_command() {
    let scratch = Scratch::new("fish");
    generated(&scratch, "fish", "lamplighter.fish");
    let script = "source lamplighter.fish; complete -C 'lamplighter drown'";
    let said = said("fish", &["--no-config"], script, scratch.path());
    assert_eq!(said, "", "{BINARY}");
}
