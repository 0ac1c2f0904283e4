"""How every command reads its options, reports errors and ends.

``catalogue`` lists the commands and their options as data; ``command_line`` reads argv;
``shared_config`` is the fastargs configuration that user modules share; ``runner`` ties them
together.
"""
