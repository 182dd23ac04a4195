"""The batch cluster of the one-machine federation: Slurm of one node, from Debian's packages.

Who may use it: whoever may open its one socket, which lies in a folder of mode 0700. slurmrestd
asks the kernel who is at the other end (``rest_auth/local``) and takes this account alone, so there
is no token that could be kept, sent or lost. Everybody's server in the one-machine federation runs
as this account, and so does every batch job: between the people of a local federation there is no
wall in Slurm, as there is none between their servers. A cluster for people who do not trust each
other is one with accounts of its own, offered with tokens or over ssh (``slurm`` in the settings).
"""
