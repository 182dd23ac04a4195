// Command csi is a CSI driver for S3 for the tests: the node's part of the protocol, with rclone as
// what mounts. It is told of a bucket as csi-rclone is: by the Secret of the volume, with the
// members remote, remotePath and configData.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

const patience = 15 * time.Second

type driver struct {
	csi.UnimplementedIdentityServer
	csi.UnimplementedNodeServer
	registration.UnimplementedRegistrationServer
	name, node, folder, socket, rclone string

	guard   sync.Mutex
	mounted map[string]*exec.Cmd
}

// What it is.

func (d *driver) GetPluginInfo(context.Context, *csi.GetPluginInfoRequest) (*csi.GetPluginInfoResponse, error) {
	return &csi.GetPluginInfoResponse{Name: d.name, VendorVersion: "0"}, nil
}

func (d *driver) GetPluginCapabilities(context.Context, *csi.GetPluginCapabilitiesRequest) (*csi.GetPluginCapabilitiesResponse, error) {
	return &csi.GetPluginCapabilitiesResponse{}, nil
}

func (d *driver) Probe(context.Context, *csi.ProbeRequest) (*csi.ProbeResponse, error) {
	return &csi.ProbeResponse{}, nil
}

func (d *driver) NodeGetInfo(context.Context, *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	return &csi.NodeGetInfoResponse{NodeId: d.node}, nil
}

func (d *driver) NodeGetCapabilities(context.Context, *csi.NodeGetCapabilitiesRequest) (*csi.NodeGetCapabilitiesResponse, error) {
	return &csi.NodeGetCapabilitiesResponse{}, nil
}

// How the kubelet learns of it.

func (d *driver) GetInfo(context.Context, *registration.InfoRequest) (*registration.PluginInfo, error) {
	return &registration.PluginInfo{
		Type:              registration.CSIPlugin,
		Name:              d.name,
		Endpoint:          d.socket,
		SupportedVersions: []string{"1.0.0"},
	}, nil
}

func (d *driver) NotifyRegistrationStatus(_ context.Context, said *registration.RegistrationStatus) (*registration.RegistrationStatusResponse, error) {
	log.Printf("registered: %v %s", said.PluginRegistered, said.Error)
	return &registration.RegistrationStatusResponse{}, nil
}

// What it mounts.

func (d *driver) NodePublishVolume(_ context.Context, asked *csi.NodePublishVolumeRequest) (*csi.NodePublishVolumeResponse, error) {
	d.guard.Lock()
	defer d.guard.Unlock()
	target, secrets := asked.GetTargetPath(), asked.GetSecrets()
	if d.mounted[target] != nil {
		return &csi.NodePublishVolumeResponse{}, nil
	}
	for _, name := range []string{"remote", "remotePath", "configData"} {
		if secrets[name] == "" {
			return nil, status.Errorf(codes.InvalidArgument, "the Secret has no %s", name)
		}
	}
	command, err := d.mount(target, secrets, asked.GetReadonly())
	if err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	d.mounted[target] = command
	log.Printf("%s is mounted, read only: %v", asked.GetVolumeId(), asked.GetReadonly())
	return &csi.NodePublishVolumeResponse{}, nil
}

func (d *driver) mount(target string, secrets map[string]string, readOnly bool) (*exec.Cmd, error) {
	own, err := os.MkdirTemp(d.folder, "volume-")
	if err != nil {
		return nil, err
	}
	config := filepath.Join(own, "rclone.conf")
	if err := os.WriteFile(config, []byte(secrets["configData"]), 0o600); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(target, 0o750); err != nil {
		return nil, err
	}
	words := []string{
		"mount", secrets["remote"] + ":" + secrets["remotePath"], target,
		"--config=" + config, "--cache-dir=" + own,
		// As csi-rclone has it, but for the time for which lists are kept.
		"--allow-other", "--allow-non-empty", "--vfs-cache-mode=writes", "--dir-cache-time=1s",
		"--vfs-write-back=0s", "--attr-timeout=0s", "--s3-directory-markers",
	}
	if readOnly {
		words = append(words, "--read-only")
	}
	command := exec.Command(d.rclone, words...)
	command.Stdout, command.Stderr = os.Stdout, os.Stderr
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := command.Start(); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		select {
		case err := <-ended:
			return nil, fmt.Errorf("rclone ended: %v", err)
		case <-time.After(20 * time.Millisecond):
		}
		if isMount(target) {
			return command, nil
		}
	}
	return nil, errors.Join(errors.New("it is not mounted in time"), command.Process.Kill())
}

func isMount(path string) bool {
	var here, above syscall.Stat_t
	if syscall.Stat(path, &here) != nil || syscall.Stat(filepath.Dir(path), &above) != nil {
		return false
	}
	return here.Dev != above.Dev
}

func (d *driver) NodeUnpublishVolume(_ context.Context, asked *csi.NodeUnpublishVolumeRequest) (*csi.NodeUnpublishVolumeResponse, error) {
	d.guard.Lock()
	defer d.guard.Unlock()
	target := asked.GetTargetPath()
	// rclone takes its mount away itself, where it lives.
	if command := d.mounted[target]; command != nil {
		if err := command.Process.Signal(syscall.SIGTERM); err == nil {
			for end := time.Now().Add(patience); isMount(target) && time.Now().Before(end); {
				time.Sleep(20 * time.Millisecond)
			}
		}
		delete(d.mounted, target)
	}
	if err := syscall.Unmount(target, syscall.MNT_DETACH); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOENT) {
		return nil, status.Error(codes.Internal, err.Error())
	}
	if err := os.Remove(target); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, status.Error(codes.Internal, err.Error())
	}
	log.Printf("%s is unmounted", asked.GetVolumeId())
	return &csi.NodeUnpublishVolumeResponse{}, nil
}

func serve(socket string, add func(*grpc.Server)) {
	if err := os.MkdirAll(filepath.Dir(socket), 0o750); err != nil {
		log.Fatal(err)
	}
	os.Remove(socket)
	listening, err := net.Listen("unix", socket)
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer()
	add(server)
	log.Fatal(server.Serve(listening))
}

func main() {
	d := &driver{mounted: map[string]*exec.Cmd{}}
	flag.StringVar(&d.name, "name", "", "name of the driver")
	flag.StringVar(&d.node, "node", "", "name of the node")
	flag.StringVar(&d.folder, "folder", "", "for its socket and what is written")
	flag.StringVar(&d.rclone, "rclone", "", "the program that mounts")
	kubelet := flag.String("kubelet", "", "the kubelet's folder")
	flag.Parse()
	d.socket = filepath.Join(d.folder, "csi.sock")
	go serve(d.socket, func(server *grpc.Server) {
		csi.RegisterIdentityServer(server, d)
		csi.RegisterNodeServer(server, d)
	})
	serve(filepath.Join(*kubelet, "plugins_registry", d.name+".sock"), func(server *grpc.Server) {
		registration.RegisterRegistrationServer(server, d)
	})
}
