"""The files that somebody starts with: a first workspace (`init`), and further actors in one (`new-actor`)."""
