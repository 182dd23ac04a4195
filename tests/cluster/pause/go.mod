module cscale/tests/cluster/pause

go 1.26
