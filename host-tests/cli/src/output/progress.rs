//! Progress on standard error.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Progress that somebody may be watching. On a terminal it is one moving line that disappears at the end;
/// elsewhere each message is a line of its own, so that a log shows where the time went.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    plain: bool,
}

impl Progress {
    pub(super) fn new(label: &str, total: Option<u64>, moving: bool, quiet: bool) -> Self {
        let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
        bar.set_draw_target(if moving {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        });
        let template = if total.is_some() {
            "{prefix:.bold} [{bar:24}] {pos}/{len} {wide_msg}"
        } else {
            "{spinner} {prefix:.bold} {wide_msg}"
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(label.to_owned());
        if moving {
            bar.enable_steady_tick(Duration::from_millis(120));
        }
        Self {
            bar,
            plain: !moving && !quiet,
        }
    }

    /// Says what is happening now, without a step forward.
    pub fn message(&self, text: impl Into<String>) {
        let text = text.into();
        if self.plain {
            eprintln!("{}: {text}", self.bar.prefix());
        }
        self.bar.set_message(text);
    }

    /// Says what is happening now where it is seen only for a moment: nothing outside a terminal.
    pub fn flicker(&self, text: impl Into<String>) {
        self.bar.set_message(text.into());
    }

    /// Goes `steps` forward.
    pub fn advance(&self, steps: u64) {
        self.bar.inc(steps);
    }

    /// Prints a line that stays, above the moving one.
    pub fn line(&self, text: &str) {
        if self.plain {
            eprintln!("{text}");
        } else {
            self.bar.println(text);
        }
    }

    /// Takes the moving line away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}
