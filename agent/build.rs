//! Tells the binary which commit and which compiler it was made of.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=LAMPLIGHTER_REVISION");
    // packages are built from an unpacked source without a repository: there the variable says it
    let revision = env::var("LAMPLIGHTER_REVISION").ok().or_else(|| {
        output(
            "git",
            &[
                "describe",
                "--always",
                "--dirty",
                "--abbrev=12",
                "--exclude=*",
            ],
        )
    });
    // only a release is built anew after every commit; while developing the last build's commit is good enough
    if env::var("PROFILE").is_ok_and(|profile| profile == "release")
        && let Some(log) = output("git", &["rev-parse", "--git-path", "logs/HEAD"])
    {
        println!("cargo::rerun-if-changed={log}");
    }
    let compiler = env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let rustc = output(&compiler, &["--version"]);
    println!("cargo::rustc-env=LAMPLIGHTER_REVISION={}", known(revision));
    println!(
        "cargo::rustc-env=LAMPLIGHTER_RUSTC={}",
        known(rustc).trim_start_matches("rustc ")
    );
}

fn known(text: Option<String>) -> String {
    text.filter(|text| !text.is_empty())
        .unwrap_or_else(|| "unknown".to_owned())
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
