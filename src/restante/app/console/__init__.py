"""The console: pages by which an administrator sees what the server does.

It is a process of its own (`restante.app.processes.console_process`). It asks the running server
by the admin socket, and reads and writes the same files as the commands do. Nothing else imports
this package.
"""
