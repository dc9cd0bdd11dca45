mod elevenlabs_limits;
mod laws;
mod live_changes;
mod oracle;
mod throttled;
