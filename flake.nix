{
  description = "A CI cache on S3";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      forEach = nixpkgs.lib.genAttrs systems;
      manifest = builtins.fromTOML (builtins.readFile ./Cargo.toml);
    in
    {
      packages = forEach (
        system:
        let
          pkgs = nixpkgs.legacyPackages.${system};
        in
        {
          default = pkgs.rustPlatform.buildRustPackage {
            pname = "xcache";
            inherit (manifest.workspace.package) version;
            src = self;
            cargoLock.lockFile = ./Cargo.lock;
            cargoBuildFlags = [
              "--package=xcache-restore"
              "--package=xcache-save"
              "--package=xcache-gc"
            ];
            # The tests start servers and install tools; tests/run does that.
            doCheck = false;
            nativeBuildInputs = [ pkgs.installShellFiles ];
            # Each program prints its own manual page and completions.
            postInstall = ''
              for program in xcache-restore xcache-save xcache-gc; do
                "$out/bin/$program" --man >"$program.1"
                for shell in bash fish zsh; do
                  "$out/bin/$program" --completions "$shell" >"$program.$shell"
                done
                installManPage "$program.1"
                installShellCompletion --cmd "$program" --bash "$program.bash" --fish "$program.fish" --zsh "$program.zsh"
              done
            '';
            meta = {
              description = "A CI cache on S3";
              homepage = "https://github.com/OWNER/xcache";
              license = with pkgs.lib.licenses; [
                mit
                asl20
              ];
              mainProgram = "xcache-gc";
              platforms = systems;
            };
          };
        }
      );

      devShells = forEach (
        system:
        let
          pkgs = nixpkgs.legacyPackages.${system};
        in
        {
          default = pkgs.mkShell {
            inputsFrom = [ self.packages.${system}.default ];
            packages = [
              pkgs.clippy
              pkgs.mdbook
              pkgs.rustfmt
            ];
          };
        }
      );
    };
}
