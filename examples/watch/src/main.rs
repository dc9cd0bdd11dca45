//! `watch URL` shows what a gateway is doing; `watch --demo` shows a client under load. See `--help`.

use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
    time::Duration,
};

use http::Uri;
use tokio::{sync, time::interval};
use tower_throttle::BoxError;
use watch::{
    Stack, View, attach,
    demo::{Demo, Seen},
    options::{Command, HELP},
    terminal,
};

/// The width of a screen that is printed.
const WIDTH: u16 = 100;

fn main() -> ExitCode {
    let command = match Command::parse(std::env::args_os().skip(1)) {
        Ok(command) => command,
        Err(error) => {
            eprintln!("watch: {error}\nTry --help.");
            return ExitCode::from(2);
        }
    };
    match run(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("watch: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), BoxError> {
    let is_terminal = io::stdout().is_terminal();
    // Nobody looks at a demo without a terminal, so its time need not pass.
    let is_paused = !is_terminal && matches!(command, Command::Demo(_));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(is_paused)
        .build()?;
    runtime.block_on(async {
        match command {
            Command::Help => print(HELP),
            Command::Attach(address) if is_terminal => show(address).await,
            Command::Attach(address) => {
                let title = address.to_string();
                let stack = attach::look(address).await;
                let stack = stack.map_err(|error| format!("{title}: {error}"))?;
                print_screen(title, stack)
            }
            Command::Demo(time) => demo(time, is_terminal).await,
        }
    })
}

/// Until a key ends it.
async fn show(address: Uri) -> Result<(), BoxError> {
    let view = View::new(address.to_string());
    let (told, latest) = sync::watch::channel(Ok(Stack::default()));
    let look = || latest.borrow().clone();
    let follows = attach::follow(address, told);
    Ok(terminal::show(view, look, follows).await?)
}

async fn demo(time: Duration, is_terminal: bool) -> Result<(), BoxError> {
    let demo = Demo::new();
    let mut seen = Seen::default();
    let mut ends = false;
    let drives = async {
        demo.drive(time).await;
        ends = true;
    };
    let mut last = Stack::default();
    let mut look = || {
        last = demo.look();
        seen.note(&last);
        Ok(last.clone())
    };
    let title = "demo";
    if is_terminal {
        terminal::show(View::new(title), look, drives).await?;
    } else {
        tokio::select! {
            biased;
            () = drives => {}
            never = async {
                let mut screens = interval(Duration::from_millis(100));
                loop {
                    screens.tick().await;
                    let _: Result<_, String> = look();
                }
            } => never,
        }
        print_screen(title.to_owned(), last)?;
    }
    let missing = seen.missing();
    if ends && !missing.is_empty() {
        return Err(format!("the demo did not show {}", missing.join(", ")).into());
    }
    Ok(())
}

fn print_screen(title: String, stack: Stack) -> Result<(), BoxError> {
    let mut view = View::new(title);
    view.update(Ok(stack));
    print(&terminal::text(&mut view, WIDTH))
}

fn print(text: &str) -> Result<(), BoxError> {
    match io::stdout().write_all(text.as_bytes()) {
        // A reader that reads no further (`| head`) has seen enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
