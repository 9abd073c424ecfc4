//! What a shell wants of a program beside running it: completions and manual pages.

use std::io;

use clap::{Command, Subcommand};
use clap_complete::Shell;

#[derive(Debug, Subcommand)]
pub enum Aids {
    /// Print a completion script.
    Completions {
        /// The shell it is for.
        shell: Shell,
    },
    /// Print a manual page, in roff.
    Man {
        /// The subcommand it is about; none: the program.
        command: Option<String>,
    },
}

impl Aids {
    /// `of` is the whole program.
    pub fn print(&self, mut of: Command) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        match self {
            Self::Completions { shell } => {
                let name = of.get_name().to_owned();
                clap_complete::generate(*shell, &mut of, name, &mut text);
            }
            Self::Man { command: None } => clap_mangen::Man::new(of).render(&mut text)?,
            Self::Man { command: Some(name) } => {
                // Tells the subcommands what they are called in full.
                of.build();
                let command = of.find_subcommand(name).ok_or_else(|| {
                    io::Error::new(io::ErrorKind::NotFound, format!("there is no command {name:?}"))
                })?;
                clap_mangen::Man::new(command.clone()).render(&mut text)?;
            }
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, clap::Parser)]
    #[command(name = "mill", about = "Grinds")]
    struct Mill {
        #[command(subcommand)]
        _command: Commands,
    }

    #[derive(Debug, Subcommand)]
    enum Commands {
        /// Grind the corn.
        Grind {
            /// As fine as flour.
            #[arg(long)]
            finely: bool,
        },
    }

    fn printed(aids: &Aids) -> io::Result<String> {
        aids.print(<Mill as clap::CommandFactory>::command()).map(|text| String::from_utf8(text).unwrap())
    }

    #[test]
    fn shells_learn_of_commands_and_flags() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = printed(&Aids::Completions { shell }).unwrap();
            assert!(script.contains("grind") && script.contains("finely"), "{shell}");
        }
    }

    #[test]
    fn each_command_has_its_page() {
        let page = printed(&Aids::Man { command: None }).unwrap();
        assert!(page.contains("Grinds") && page.contains("grind"), "{page}");
        let page = printed(&Aids::Man { command: Some("grind".to_owned()) }).unwrap();
        assert!(page.contains("As fine as flour") && page.contains("mill\\-grind"), "{page}");
        assert!(printed(&Aids::Man { command: Some("bake".to_owned()) }).is_err());
    }
}
