//! Completions and the man page, printed to stdout for whoever packages the programs.

use std::io::{self, Write as _};

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Exit, command};

/// Things to print instead of running.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Other")]
pub struct OtherArgs {
    /// Print the completions for a shell
    #[arg(long, value_name = "SHELL", value_enum)]
    pub completions: Option<Shell>,

    /// Print the man page
    #[arg(long)]
    pub man: bool,
}

/// Of a program with a hyphen in its name, clap's script for bash sets other names of subcommands than it asks for.
fn with_one_name(program: &str, script: Vec<u8>) -> Vec<u8> {
    let name = |hyphen: &str| format!("{}__subcmd__", program.replace('-', hyphen));
    match String::from_utf8(script) {
        Ok(text) => text.replace(&name("__subcmd__"), &name("__")).into_bytes(),
        Err(error) => error.into_bytes(),
    }
}

impl OtherArgs {
    /// Prints what was asked for; `None` if nothing was.
    pub fn print<T: CommandFactory>(&self) -> Option<Exit> {
        let mut page = Vec::new();
        let mut command = command::<T>();
        let name = command.get_name().to_owned();
        if let Some(shell) = self.completions {
            clap_complete::generate(shell, &mut command, &name, &mut page);
            if shell == Shell::Bash {
                page = with_one_name(&name, page);
            }
        } else if self.man {
            clap_mangen::Man::new(command).render(&mut page).ok()?;
        } else {
            return None;
        }
        let mut stdout = io::stdout().lock();
        let printed = stdout.write_all(&page).and_then(|()| stdout.flush());
        Some(if printed.is_ok() { Exit::Done } else { Exit::Failed })
    }
}
